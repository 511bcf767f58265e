"""The options by which collections are chosen, in today's and in the 0.5 spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from mbk.cli import terminal
from mbk.errors import UsageError
from mbk.model.selection import CollectionName, Selection

F = TypeVar("F", bound=Callable[..., Any])


def named(function: F) -> F:
    """``-n NAME``, or just ``NAME``."""
    function = click.argument("argument", metavar="[NAME]", required=False)(function)
    return click.option("--name", "-n", metavar="NAME", help="Name of the backup.")(function)


def chosen_name(name: str | None, argument: str | None) -> str:
    """The one name given; `UsageError` when there is none, or two."""
    if name and argument and name != argument:
        raise UsageError(f"two names are given, {name!r} and {argument!r}", hint="give one")
    chosen = name or argument
    if not chosen:
        raise UsageError("which backup?", hint="give its name with -n; 'mbk list' shows them")
    return chosen


def old_selection(
    collections: str | None, databases: str | None, database_collections: str | None
) -> Selection | None:
    """What ``-c``, ``-d`` and ``-a`` of 0.5 choose; None when none of them is given."""
    given = [text for text in (collections, databases, database_collections) if text]
    if not given:
        return None
    if len(given) > 1:
        raise UsageError("-c, -d and -a exclude each other", hint="use --filter for a mixture")
    terminal.warning("-c, -d and -a are the spelling of 0.5; --filter db.coll,db2.* says the same")
    if collections:
        return Selection(collections=frozenset(map(CollectionName.parse, _items(collections))))
    if databases:
        return Selection.of(dict.fromkeys(_items(databases), ()))
    return Selection.of(_mapping(database_collections or ""))


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _mapping(text: str) -> Mapping[str, list[str]]:
    hint = """write {"db1": ["coll1", "coll2"], "db2": []}"""
    value = json_of(text, "-a", hint=hint)
    if not isinstance(value, dict):
        raise UsageError("-a is no JSON object", hint=hint)
    for database, names in value.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"-a: {database!r} has no list of names", hint=hint)
    return value


def json_of(text: str, where: str, *, hint: str | None = None, quote: bool = True) -> object:
    """What ``text`` means as JSON; `UsageError` that names ``where`` it stands. ``quote`` False: it is a secret."""
    import json

    try:
        value: object = json.loads(text)
    except ValueError as exc:
        why = f": {exc}" if quote else ""
        raise UsageError(f"{where} is no JSON{why}", hint=hint) from (exc if quote else None)
    return value
