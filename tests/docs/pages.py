"""The documentation as data: pages, their code blocks, and the shell commands in them."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_SHELL = ("", "sh", "bash")
_CRON = re.compile(r"^(?:[\d*/,-]+ ){5}")
_DUPLICATION = re.compile(r"\d>&\d")
_SPAN = re.compile(r"`(mbk [^`]+)`")
#: What a synopsis writes for any command, any storage.
_ANY = frozenset({"COMMAND", "TYPE"})
#: What ends one command on a line of shell, and begins the next.
_BETWEEN = frozenset({"&&", "||", "|", ";", ";;", "&", "(", ")"})
_REDIRECTIONS = frozenset({">", ">>", "<", ">&", "&>"})


@dataclass(frozen=True)
class Block:
    """A fenced block. ``line`` is where its text begins, counted from 1."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """``path`` is relative to the repository, with slashes."""

    path: str

    @cached_property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        return _FENCE.sub("", self.text)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(
            Block(
                self.path,
                self.text.count("\n", 0, found.start("text")) + 1,
                found["language"],
                textwrap.dedent(found["text"]),
            )
            for found in _FENCE.finditer(self.text)
        )

    def __str__(self) -> str:
        return self.path


PAGES = [
    Page(path.relative_to(ROOT).as_posix())
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
]


def blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in page.blocks if block.language in languages]


#: What makes something called mbk, or moves it, and runs nothing of it.
_NAMES_IT = frozenset({"ln", "useradd", "venv", "build", "tag", "push", "helm", "mkdir"})


def mbk_commands(text: str) -> Iterator[list[str]]:
    """The arguments of every call of ``mbk`` in lines of shell."""
    for line in text.splitlines():
        for words in _commands(_DUPLICATION.sub("", _CRON.sub("", line))):
            places = [index for index, word in enumerate(words) if word.rpartition("/")[2] == "mbk"]
            if places and _NAMES_IT.isdisjoint(words):
                # `docker compose exec mbk mbk list`: the container, then the command in it.
                first = next(place for place in places if place + 1 not in places)
                yield words[first + 1 :]


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for token in lexer:
        if token in _BETWEEN:
            yield words
            words = []
        elif token in _REDIRECTIONS:
            skip = True
        elif not skip:
            words.append(token)
        else:
            skip = False
    yield words


def documented_commands() -> list[tuple[str, list[str]]]:
    """Every ``mbk`` command of the shell blocks and within sentences, with the place where it stands."""
    texts = [(str(block), block.text) for block in blocks(*_SHELL)]
    texts += [(page.path, span.replace("\\|", "|")) for page in PAGES for span in _SPAN.findall(page.prose)]
    found = [(where, words) for where, text in texts for words in mbk_commands(text)]
    return [(where, words) for where, words in found if _ANY.isdisjoint(words)]
