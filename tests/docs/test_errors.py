"""The page of errors says what `mbk.errors` does."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mbk import errors
from tests.docs.pages import Page

PAGE = Page("docs/reference/errors.md")
#: The tree is drawn with en dashes.
ROW = re.compile(r"^\| ((?:\u2013 )*)`(\w+)` \| (\d+) \| (yes)? ?\|", re.MULTILINE)
CODE = re.compile(r"^\| (\d+) \|", re.MULTILINE)


def tree(kind: type[errors.MbkError], depth: int = 0) -> Iterator[tuple[int, str, int, bool]]:
    yield depth, kind.__name__, kind.exit_code, kind.retryable
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


def test_the_page_holds_the_whole_tree_with_codes_and_retries() -> None:
    listed = [
        (len(dashes) // 2, name, int(code), bool(again))
        for dashes, name, code, again in ROW.findall(PAGE.text)
    ]
    assert listed == [*tree(errors.MbkError)]


def test_every_exit_code_is_explained() -> None:
    explained = [int(code) for code in CODE.findall(PAGE.text)]
    assert explained == sorted({0, *(code for _, _, code, _ in tree(errors.MbkError))})


def test_both_pages_with_exit_codes_know_the_same_ones() -> None:
    in_reference = {int(code) for code in CODE.findall(Page("docs/reference/cli.md").text)}
    assert in_reference - {141} == {int(code) for code in CODE.findall(PAGE.text)}
    assert "141" in PAGE.text
