"""Writes the tables of options into the reference, from their declarations: ``python -m tests.docs.tables``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from mbk.cli.main import cli
from mbk.cli.options import Documented, PlainArgument
from mbk.jobs.params import PARAMS, Params
from mbk.model.operations import OPERATIONS, Operation

REFERENCE = Path(__file__).parents[2] / "docs/reference"
CLI, REST = REFERENCE / "cli.md", REFERENCE / "rest-api.md"
_SIDES = {
    "milvus": "Milvus",
    "storage": "its storage",
    "backups": "the backups",
    "cloud": "Zilliz Cloud",
    "backup": "the backup",
    "other backup": "another backup",
    "result": "what the backup says of its verification",
}


def written(page: str) -> str:
    """The page of the command line with its tables as they must be."""
    page = _with_table(page, "What a command touches", _touched())
    for operation in OPERATIONS.values():
        if rows := [*_options(operation)]:
            page = _with_table(page, f"mbk {operation.command}", ["| option | meaning |", "|---|---|", *rows])
    return page


def written_rest(page: str) -> str:
    """The page of the REST API with its tables of bodies as they must be."""
    for kind, params in PARAMS.items():
        rows = [
            f"| `{name}` | {_json(field)} | {_escaped(field.description or '')} |"
            for name, field in _own(params)
        ]
        page = _with_table(
            page, f"Jobs of kind {kind}", ["| field | type | meaning |", "|---|---|---|", *rows]
        )
    return page


def _own(params: type[Params]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in params.model_fields.items():
        if name not in (*Params.model_fields, "kind"):
            yield name, field


def _json(field: FieldInfo) -> str:
    """The type of a field in JSON, as the page names it."""
    schema = TypeAdapter(field.annotation).json_schema()
    for definition in schema.get("$defs", {}).values():
        schema = definition
    kinds = [kind["type"] for kind in schema.get("anyOf", [schema])]
    shown = ", ".join(f"`{value}`" for value in schema["enum"]) if "enum" in schema else " or ".join(kinds)
    return f"{shown}, required" if field.is_required() else shown


def _with_table(page: str, title: str, lines: Iterable[str]) -> str:
    """The page with the first table of a section replaced, or one put to its end."""
    heading = re.search(rf"\n##+ {title}\n", page)
    assert heading, f"no section {title!r}"
    start = heading.start()
    after = re.compile(r"\n##+ ").search(page, heading.end())
    section, rest = (page[start : after.start()], page[after.start() :]) if after else (page[start:], "")
    table = "\n".join(lines) + "\n"
    before, _, old = section.partition("\n| ")
    text = re.sub(r"\A(?:.*\n)(?:\|.*\n)*", "", old)
    return page[:start] + before.rstrip("\n") + "\n\n" + table + text + rest


def _touched() -> Iterator[str]:
    yield "| command | talks to | changes |"
    yield "|---|---|---|"
    for item in OPERATIONS.values():
        needs, writes = (
            ", ".join(_SIDES[side] for side in sides) or "nothing" for sides in (item.needs, item.writes)
        )
        yield f"| `{item.command}` | {needs} | {writes} |"


def _options(operation: Operation) -> Iterator[str]:
    command = cli.get_command(click.Context(cli), operation.command)
    assert command is not None
    options = [option for option in command.params if isinstance(option, Documented | PlainArgument)]
    for option in sorted(options, key=lambda option: option.hidden):
        yield f"| {_spelled(option)} | {_meant(option)} |"


def _spelled(option: Documented | PlainArgument) -> str:
    if isinstance(option, PlainArgument):
        return f"`{(option.metavar or '').strip('[]')}`"
    flags = sorted(option.opts, key=len, reverse=True) + option.secondary_opts
    takes = (option.metavar or "").strip("[]").replace("|", "\\|")
    return ", ".join(f"`{flag}`" for flag in flags) + (f" `{takes}`" if takes else "")


def _meant(option: Documented | PlainArgument) -> str:
    text, _, default = (option.help or "").partition("[default: ")
    text = _escaped(text.strip())
    text += "" if text.endswith(".") else "."
    parts = [text, f"Default: {default.rstrip(']')}." if default else "", option.more]
    flags = re.compile(r"(?<!`)(--[a-z][a-z-]*(?: [a-z]+_[a-z]+)?)")
    return " ".join([flags.sub(r"`\1`", part) if part is not option.more else part for part in parts if part])


def _escaped(text: str) -> str:
    return text.replace("*", "\\*")


if __name__ == "__main__":
    CLI.write_text(written(CLI.read_text(encoding="utf-8")), encoding="utf-8")
    REST.write_text(written_rest(REST.read_text(encoding="utf-8")), encoding="utf-8")
