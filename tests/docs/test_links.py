"""Every link inside of the repository leads somewhere."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import PAGES, ROOT, Page

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ELSEWHERE = ("https://", "http://", "mailto:")


def anchors(page: Page) -> set[str]:
    """The anchors of a page's headings, as hosts of Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", page.prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_relative_link_resolves(page: Page) -> None:
    for link in LINK.findall(page.prose):
        if link.startswith(ELSEWHERE):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page.path).parent / path).resolve() if path else ROOT / page.path
        assert target.exists(), f"{page} links to {link}"
        assert target.is_relative_to(ROOT), f"{page} links out of the repository: {link}"
        if anchor:
            assert anchor in anchors(Page(target.relative_to(ROOT).as_posix())), f"{page} links to {link}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.path.startswith("docs/")], ids=str)
def test_every_page_can_be_reached_from_the_index(page: Page) -> None:
    index = Page("docs/index.md")
    assert page.path == index.path or f"({page.path.removeprefix('docs/')})" in index.text
