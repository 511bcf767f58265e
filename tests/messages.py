"""The messages in the sources: each error and notice, found where it is made.

``python -m tests.messages`` writes the golden file anew, after a sentence was changed on purpose.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from mbk import errors
from mbk.jobs import failures
from tests.architecture.source import CORE, PLUGINS, Module

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"
ERRORS = frozenset(
    name
    for name, kind in (*vars(errors).items(), *vars(failures).items())
    if isinstance(kind, type) and issubclass(kind, errors.MbkError)
) - {"ConfigError"}  # its problems are sentences of their own, one a key


#: Keywords of an error that are no facts.
NO_FACTS = frozenset({"code", "hint", "retryable", "failures", "report", "server_code"})


@dataclass(frozen=True, slots=True)
class Message:
    """``code`` is empty where the error tells none, ``sentence`` None where the text is made elsewhere."""

    code: str
    kind: str
    sentence: str | None
    hint: str | None
    place: str
    #: Names in braces that the call gives no fact for.
    blanks: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        text = f"{self.code}  {self.kind}: {self.sentence}"
        return f"{text}  ({self.hint})" if self.hint else text


def messages() -> list[Message]:
    """All of them, but for those whose text is somebody else's."""
    found = (message for module in (*CORE, *PLUGINS) for message in _of(module))
    return sorted(found, key=lambda message: (message.code, message.place))


def _of(module: Module) -> Iterator[Message]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        place = f"{module.path}:{node.lineno}"
        if name == "notice" and len(node.args) >= 2:
            code, sentence = _text(node.args[0]), _text(node.args[1])
            blanks = _blanks(sentence, None, {*given, "collection"}, given)
            yield Message(code or "", "notice", sentence, None, place, blanks)
        elif name in ERRORS and node.args:
            hint = given.get("hint")
            code = _text(given["code"]) if "code" in given else ""
            sentence, told = _text(node.args[0]), _text(hint) if hint else None
            facts = {key for key in given if key not in NO_FACTS}
            yield Message(code or "", name, sentence, told, place, _blanks(sentence, told, facts, given))
        elif name == "WireError" and len(node.args) >= 2:
            code, hint = _text(given["code"]) if "code" in given else "", given.get("hint")
            kind, reason = ast.unparse(node.args[0]), f"cannot …: {_text(node.args[1])}"
            yield Message(code or "", kind, reason, _text(hint) if hint else None, place)


def _blanks(
    sentence: str | None, hint: str | None, facts: set[str | None], given: Container[str | None]
) -> tuple[str, ...]:
    """A text is only filled where there are facts; ``**facts`` may have any."""
    if None in given or not facts:
        return ()
    fields = {
        name for text in (sentence or "", hint or "") for _, name, _, _ in Formatter().parse(text) if name
    }
    return tuple(sorted(fields.difference(fact for fact in facts if fact)))


def _text(node: ast.expr) -> str | None:
    """A literal, or None for what is made at run time."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def golden() -> str:
    return "".join(
        f"{line}\n" for line in sorted({message.line for message in messages() if message.sentence})
    )


if __name__ == "__main__":
    GOLDEN.write_text(golden(), encoding="utf-8")
