"""Every link inside of the repository leads somewhere."""

from __future__ import annotations

import re

from tests.docs.pages import PAGES, ROOT, Page

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ELSEWHERE = ("https://", "http://", "mailto:")


def anchors(page: Page) -> list[str]:
    """The anchors of a page's headings, as hosts of Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", page.prose, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def resolves(page: Page, link: str) -> bool:
    """Whether the link leads to a file of the repository, and to a heading that it has."""
    path, _, anchor = link.partition("#")
    target = ((ROOT / page.path).parent / path).resolve() if path else ROOT / page.path
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(Page(target.relative_to(ROOT).as_posix()))


def test_every_relative_link_resolves() -> None:
    wrong = [
        f"{page} links to {link}"
        for page in PAGES
        for link in LINK.findall(page.prose)
        if not link.startswith(ELSEWHERE) and not resolves(page, link)
    ]
    assert wrong == []


def test_every_page_can_be_reached_from_the_index_of_its_language() -> None:
    chinese, english = Page("docs/index.zh-CN.md").text, Page("docs/index.md").text
    pages = [page.path.removeprefix("docs/") for page in PAGES if page.path.count("/") > 1]
    assert [
        path for path in pages if f"({path})" not in (chinese if path.endswith(".zh-CN.md") else english)
    ] == []
