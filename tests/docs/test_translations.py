"""The pages in Chinese show the same commands, configurations and outputs as those in English."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import PAGES, Block, Page

TRANSLATED = [page for page in PAGES if page.path.endswith(".zh-CN.md")]
COMMENT = re.compile(r"\s*#.*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")


def english(page: Page) -> Page:
    return Page(page.path.replace(".zh-CN.md", ".md"))


def content(block: Block) -> tuple[str, str]:
    """Comments are translated, all else is the same."""
    return block.language, COMMENT.sub("", block.text)


@pytest.mark.parametrize("page", TRANSLATED, ids=str)
def test_a_translation_has_the_blocks_of_its_original(page: Page) -> None:
    assert [content(block) for block in page.blocks] == [content(block) for block in english(page).blocks]


@pytest.mark.parametrize("page", TRANSLATED, ids=str)
def test_a_translation_links_to_what_its_original_links_to(page: Page) -> None:
    own, original = (
        {link.replace(".zh-CN.md", ".md") for link in LINK.findall(each.prose)}
        for each in (page, english(page))
    )
    assert own == original


@pytest.mark.parametrize("page", TRANSLATED, ids=str)
def test_a_translation_has_the_sections_of_its_original(page: Page) -> None:
    own, original = (re.findall(r"^#+ ", each.prose, re.MULTILINE) for each in (page, english(page)))
    assert own == original


def test_the_landing_pages_are_translated() -> None:
    assert {page.path for page in TRANSLATED} >= {"README.zh-CN.md", "docs/tutorial/first-backup.zh-CN.md"}
