"""Writes the tables of options into the reference, from their declarations: ``python -m tests.docs.tables``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from mbk.cli.main import cli
from mbk.cli.options import Documented
from mbk.model.operations import OPERATIONS, Operation

CLI = Path(__file__).parents[2] / "docs/reference/cli.md"
_SIDES = {"milvus": "Milvus", "storage": "its storage", "backups": "the backups", "cloud": "Zilliz Cloud"}


def written(page: str) -> str:
    """The page of the command line with its tables as they must be."""
    page = _with_table(page, "What a command touches", _touched())
    for name, operation in OPERATIONS.items():
        if rows := [*_options(operation)]:
            page = _with_table(page, f"mbk {name}", ["| option | meaning |", "|---|---|", *rows])
    return page


def _with_table(page: str, title: str, lines: Iterable[str]) -> str:
    """The page with the first table of a section replaced, or one put to its end."""
    start = page.index(f"\n## {title}\n")
    end = page.find("\n## ", start + 1)
    section, rest = (page[start:], "") if end < 0 else (page[start:end], page[end:])
    table = "\n".join(lines) + "\n"
    before, _, after = section.partition("\n| ")
    after = re.sub(r"\A(?:.*\n)(?:\|.*\n)*", "", after)
    return page[:start] + before.rstrip("\n") + "\n\n" + table + after + rest


def _touched() -> Iterator[str]:
    yield "| command | talks to | changes |"
    yield "|---|---|---|"
    for name, item in OPERATIONS.items():
        needs, writes = (
            ", ".join(_SIDES[side] for side in sides) or "nothing" for sides in (item.needs, item.writes)
        )
        yield f"| `{name}` | {needs} | {writes} |"


def _options(operation: Operation) -> Iterator[str]:
    command = cli.get_command(click.Context(cli), operation.name)
    assert command is not None
    options = [option for option in command.params if isinstance(option, Documented)]
    for option in sorted(options, key=lambda option: option.hidden):
        yield f"| {_spelled(option)} | {_meant(option)} |"


def _spelled(option: Documented) -> str:
    flags = sorted(option.opts, key=len, reverse=True) + option.secondary_opts
    takes = (option.metavar or "").strip("[]").replace("|", "\\|")
    return ", ".join(f"`{flag}`" for flag in flags) + (f" `{takes}`" if takes else "")


def _meant(option: Documented) -> str:
    text, _, default = (option.help or "").partition("[default: ")
    text = text.strip().replace("*", "\\*")
    text += "" if text.endswith(".") else "."
    parts = [text, f"Default: {default.rstrip(']')}." if default else "", option.more]
    flags = re.compile(r"(?<!`)(--[a-z][a-z-]*(?: [a-z]+_[a-z]+)?)")
    return " ".join([flags.sub(r"`\1`", part) if part is not option.more else part for part in parts if part])


if __name__ == "__main__":
    CLI.write_text(written(CLI.read_text(encoding="utf-8")), encoding="utf-8")
