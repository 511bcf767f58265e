"""The reference of the library is that of its docstrings, and nothing is left out."""

from __future__ import annotations

import mbk
from tests.docs.python_api import PAGE, SECTIONS, written


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == written(), "run: python -m tests.docs.python_api"


def test_every_export_has_a_place() -> None:
    text = PAGE.read_text(encoding="utf-8")
    elsewhere = {"__version__", "errors"}
    assert [name for name in mbk.__all__ if name not in elsewhere and f"### {name}\n" not in text] == []
    assert {mbk._LAZY[name] for name in mbk.__all__ if name in mbk._LAZY} == set(SECTIONS)
