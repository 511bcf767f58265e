"""The pages in Chinese show the same commands, configurations and outputs as those in English."""

from __future__ import annotations

import re

from tests.docs.pages import PAGES, Block, Page

TRANSLATED = [page for page in PAGES if page.path.endswith(".zh-CN.md")]
COMMENT = re.compile(r"\s*#.*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")


def english(page: Page) -> Page:
    return Page(page.path.replace(".zh-CN.md", ".md"))


def content(block: Block) -> tuple[str, str]:
    """Comments are translated, all else is the same."""
    return block.language, COMMENT.sub("", block.text)


def contents(page: Page) -> list[tuple[str, str]]:
    return [content(block) for block in page.blocks]


def links(page: Page) -> set[str]:
    return {link.replace(".zh-CN.md", ".md") for link in LINK.findall(page.prose)}


def sections(page: Page) -> list[str]:
    return re.findall(r"^#+ ", page.prose, re.MULTILINE)


def test_a_translation_has_the_blocks_of_its_original() -> None:
    assert {page: contents(page) for page in TRANSLATED} == {
        page: contents(english(page)) for page in TRANSLATED
    }


def test_a_translation_links_to_what_its_original_links_to() -> None:
    assert {page: links(page) for page in TRANSLATED} == {page: links(english(page)) for page in TRANSLATED}


def test_a_translation_has_the_sections_of_its_original() -> None:
    assert {page: sections(page) for page in TRANSLATED} == {
        page: sections(english(page)) for page in TRANSLATED
    }


def test_the_landing_pages_are_translated() -> None:
    assert {page.path for page in TRANSLATED} >= {"README.zh-CN.md", "docs/tutorial/first-backup.zh-CN.md"}
