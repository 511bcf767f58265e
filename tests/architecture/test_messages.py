"""Every message is made in one place, has a code, and stands in the golden file; no test matches a sentence."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.architecture.source import ROOT
from tests.messages import ERRORS, GOLDEN, golden, messages


def test_the_golden_file_has_every_sentence() -> None:
    assert GOLDEN.read_text(encoding="utf-8") == golden(), "on purpose? then: python -m tests.messages"


def test_a_message_that_we_make_has_a_code() -> None:
    assert [message.place for message in messages() if message.sentence and not message.code] == []


def test_a_code_has_one_sentence() -> None:
    sentences: defaultdict[str, set[str]] = defaultdict(set)
    for message in messages():
        if message.code and message.sentence:
            sentences[message.code].add(message.sentence)
    assert {code: texts for code, texts in sentences.items() if len(texts) > 1} == {}


def test_every_name_in_a_sentence_is_a_fact() -> None:
    assert [(message.place, message.blanks) for message in messages() if message.blanks] == []


def test_no_test_matches_a_sentence_of_ours() -> None:
    """`tests.raising.raised` asks for the code and the facts; text of a server's, or of a test's own, may be matched."""
    matching = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and any(keyword.arg == "match" for keyword in node.keywords):
                names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                if names & ERRORS:
                    matching.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert matching == []
