"""The messages that pages quote are those that mbk prints: each matches a sentence of the golden file."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, Page
from tests.messages import GOLDEN

TABLE = Page("docs/how-to/find-what-is-wrong.md")
ERRORS = Page("docs/reference/errors.md")
_ROW = re.compile(r"^\| (`.+?) \|", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_PRINTED = re.compile(r"reported as\s+`([^`]+)`")
_LINE = re.compile(r"^\S*  \w+: (?P<sentence>.*?)(?:  \((?P<hint>.*)\))?$")
#: What services say, in their words.
FOREIGN = frozenset({"… SignatureDoesNotMatch", "… InvalidAccessKeyId", "… AccessDenied"})
#: What is put together, so that no line of the golden file has it whole: the source, and the words that stand in it.
COMPOSED = {
    "Milvus' REST port at … does not respond": ("core/mbk/milvus/rest.py", "Milvus' REST port"),
    "cannot list bucket …: Connection refused": (
        "core/mbk/plugin/failures.py",
        "cannot {doing} {where}: ",
    ),
    "bucket … does not exist": ("core/mbk/plugin/failures.py", '"{place} does not exist"'),
    "segment …: field … has … binlogs … a failed upload may have left …": (
        "core/mbk/engine/formats/binlog/orphans.py",
        "a failed upload may have left {",
    ),
    "internal error, please report it": ("core/mbk/cli/main.py", "internal error, please report it"),
}


def quoted() -> list[str]:
    rows = [quote for cell in _ROW.findall(TABLE.text) for quote in _SPAN.findall(cell)]
    return rows + _PRINTED.findall(ERRORS.text)


def printed() -> list[str]:
    """Each sentence with its hint as a terminal shows them, placeholders as they are written."""
    lines = filter(None, map(_LINE.match, GOLDEN.read_text(encoding="utf-8").splitlines()))
    return [": ".join(filter(None, line.group("sentence", "hint"))) for line in lines]


def unknown() -> list[str]:
    """Quotes whose words, in their order, stand in no sentence. ``…`` is a placeholder, and whatever is left out."""
    sentences = printed()
    patterns = {quote: ".*".join(map(re.escape, re.split(r"\s*…\s*", quote))) for quote in quoted()}
    return [
        quote
        for quote, pattern in patterns.items()
        if quote not in FOREIGN | COMPOSED.keys()
        and not any(re.search(pattern, sentence) for sentence in sentences)
    ]


def test_every_message_that_a_page_quotes_is_one_that_mbk_prints() -> None:
    assert unknown() == []


def test_what_is_put_together_stands_where_it_is_said_to() -> None:
    assert [
        quote for quote, (path, words) in COMPOSED.items() if words not in (ROOT / path).read_text("utf-8")
    ] == []


def test_no_quote_is_excused_that_no_page_has() -> None:
    assert FOREIGN | COMPOSED.keys() <= {*quoted()}
