"""The pages in Chinese show the same commands, configurations and outputs as those in English."""

from __future__ import annotations

import os
import re

from tests.docs.pages import PAGES, ROOT, Block, Page
from tests.docs.test_links import anchors

#: What stays in English: reference, with a summary of each page in the Chinese index, and what contributors read.
FOR_USERS = ("README.md", "docs/index.md", "docs/tutorial/", "docs/how-to/")
ALSO_FOR_USERS = ("docs/reference/errors.md", "docs/reference/glossary.md", "docs/explanation/security.md")
#: A schema is no mode, readers are addressed politely, and one thing has one name.
AVOIDED = {"模式": "结构", "你": "您", "凭据": "凭证"}
TRANSLATED = [page for page in PAGES if page.path.endswith(".zh-CN.md")]
COMMENT = re.compile(r"\s*#.*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")


def is_for_users(page: Page) -> bool:
    return page.path.startswith(FOR_USERS) or page.path in ALSO_FOR_USERS


def english(page: Page) -> Page:
    return Page(page.path.replace(".zh-CN.md", ".md"))


def content(block: Block) -> tuple[str, str]:
    """Comments are translated, all else is the same."""
    return block.language, COMMENT.sub("", block.text)


def contents(page: Page) -> list[tuple[str, str]]:
    return [content(block) for block in page.blocks]


def links(page: Page) -> set[tuple[str, int | None]]:
    """Where the page links to: the original of that, and which of its headings."""
    return {destination(page, link) for link in LINK.findall(page.prose)}


def destination(page: Page, link: str) -> tuple[str, int | None]:
    path, _, anchor = link.partition("#")
    if "://" in link or not anchor:
        return link.replace(".zh-CN.md", ".md"), None
    target = Page(os.path.relpath((ROOT / page.path).parent / path, ROOT)) if path else page
    return path.replace(".zh-CN.md", ".md"), anchors(target).index(anchor)


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


def test_every_page_that_users_meet_is_translated() -> None:
    there = {page.path for page in PAGES}
    wanted = [page for page in PAGES if is_for_users(page) and not page.path.endswith(".zh-CN.md")]
    assert [page.path for page in wanted if page.path.replace(".md", ".zh-CN.md") not in there] == []


def test_a_page_and_its_translation_lead_to_each_other() -> None:
    assert [page.path for page in TRANSLATED if not leads_to(page, english(page))] == []
    assert [page.path for page in TRANSLATED if not leads_to(english(page), page)] == []


def test_the_words_of_a_translation_are_those_of_all() -> None:
    wrong = [f"{page} says {word}" for page in TRANSLATED for word in AVOIDED if word in page.prose]
    assert wrong == [], AVOIDED


def leads_to(page: Page, other: Page) -> bool:
    return f"]({other.path.rpartition('/')[2]})" in page.text
