"""What code and pages refer to is in the repository: pages with their sections, modules, folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Page
from tests.docs.test_links import anchors

CODE = ("core", "plugins", "tests", "benchmarks")
#: A page, with the anchor of a section where one is named. Milvus has a folder `docs` too, with other folders in it.
PAGE = re.compile(
    r"(?<!/)\bdocs/(?:index|(?:explanation|how-to|reference|tutorial)/[\w./-]+)\.md(?:#([\w-]+))?"
)
#: How notes are called; pages of that look are only those that every repository has.
NOTES = re.compile(r"\b[A-Z]{3,}\.md\b")
PATH = re.compile(r"`((?:core|plugins|tests|benchmarks|docs)/[\w./-]+)`")
ARCHITECTURE = Page("docs/explanation/architecture.md")


def sources() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_every_page_that_code_refers_to_exists_with_its_section() -> None:
    broken = []
    for source in sources():
        for found in PAGE.finditer(source.read_text(encoding="utf-8")):
            page, _, anchor = found[0].partition("#")
            if not (ROOT / page).is_file() or (anchor and anchor not in anchors(Page(page))):
                broken.append(f"{source.relative_to(ROOT)}: {found[0]}")
    assert broken == []


def test_code_refers_to_no_notes_that_are_not_in_the_repository() -> None:
    broken = [
        f"{source.relative_to(ROOT)}: {name}"
        for source in sources()
        for name in NOTES.findall(source.read_text(encoding="utf-8"))
        if not (ROOT / name).is_file()
    ]
    assert broken == []


def test_every_path_that_a_page_names_exists() -> None:
    # The changelog tells of what was, the tutorials of the reader's own project.
    pages = [page for page in PAGES if not page.path.startswith(("CHANGELOG", "docs/tutorial/"))]
    named = [(page.path, path) for page in pages for path in PATH.findall(page.prose)]
    assert [(page, path) for page, path in named if not (ROOT / path).exists()] == []


def test_the_picture_of_the_floors_shows_every_room_of_the_engine() -> None:
    engine = ROOT / "core" / "mbk" / "engine"
    rooms = [
        path for path in (*engine.glob("*/"), *engine.glob("formats/*/")) if (path / "__init__.py").exists()
    ]
    assert [room.name for room in rooms if f" {room.name}/" not in ARCHITECTURE.blocks[0].text] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("as in docs/reference/cli.md#filters", [("docs/reference/cli.md#filters", "filters")]),
        ("(docs/index.md).", [("docs/index.md", "")]),
        ("https://example.org/docs/reference/a.md", []),
    ],
)
def test_references_are_found_in_text(text: str, named: list[tuple[str, str]]) -> None:
    assert [(found[0], found[1] or "") for found in PAGE.finditer(text)] == named
