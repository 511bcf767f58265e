"""The mapping of a restore plan: which databases and collections of a backup become which, several times if wanted.

It is the ``restorePlan.mapping`` of the classic REST API (docs/reference/classic-tool.md#restore-options), a list of
``{source, target, withProp, colls: [{source, target, override: {shardNum, description}}]}``. A database with ``colls``
gives those collections, one without gives all of its own. What no mapping names is not restored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mbk.errors import UsageError
from mbk.model.records import DEFAULT_DATABASE


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionMapping:
    """``shards`` 0 and ``description`` None: as in the backup."""

    source: str
    target: str
    shards: int = 0
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseMapping:
    """``collections`` empty: all of the database, under their names. ``properties``: those of the database, too."""

    source: str
    target: str
    collections: tuple[CollectionMapping, ...] = ()
    properties: bool = True


def parse_mapping(value: object) -> tuple[DatabaseMapping, ...]:
    """Reads the JSON form; `UsageError` says which entry is wrong, and how."""
    return tuple(_database(entry, f"mapping[{at}]") for at, entry in enumerate(_list(value, "mapping")))


def _database(value: object, where: str) -> DatabaseMapping:
    entry = _object(value, where, {"source", "target", "withProp", "colls"})
    source = _text(entry.get("source"), f"{where}.source") or DEFAULT_DATABASE
    with_properties = entry.get("withProp")
    if not isinstance(with_properties, bool | None):
        raise UsageError(
            "{where}.withProp is neither true nor false", code="withprop-neither-true-nor", where=where
        )
    collections = _list(entry.get("colls"), f"{where}.colls")
    return DatabaseMapping(
        source=source,
        target=_text(entry.get("target"), f"{where}.target") or source,
        collections=tuple(_collection(item, f"{where}.colls[{at}]") for at, item in enumerate(collections)),
        properties=with_properties is not False,
    )


def _collection(value: object, where: str) -> CollectionMapping:
    entry = _object(value, where, {"source", "target", "override"})
    source = _text(entry.get("source"), f"{where}.source")
    if not source:
        raise UsageError(
            "{where} has no source", code="source", where=where, hint="name a collection of the backup"
        )
    override = _object(entry.get("override") or {}, f"{where}.override", {"shardNum", "description"})
    shards = override.get("shardNum") or 0
    if not isinstance(shards, int) or isinstance(shards, bool) or shards < 0:
        raise UsageError(
            "{where}.override.shardNum is no number of shards",
            code="overrideshardnum-number-shards",
            where=where,
        )
    described = override.get("description")
    return CollectionMapping(
        source=source,
        target=_text(entry.get("target"), f"{where}.target") or source,
        shards=shards,
        description=None if described is None else _text(described, f"{where}.override.description"),
    )


def _list(value: object, where: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise UsageError("{where} is no list", code="list", where=where)
    return list(value)


def _object(value: object, where: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError("{where} is no object", code="object", where=where)
    if unknown := sorted(set(value) - known):
        raise UsageError(
            "{where} has the unknown key {unknown!r}",
            code="unknown-key",
            where=where,
            unknown=unknown[0],
            names=", ".join(sorted(known)),
            hint="known: {names}",
        )
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str | None):
        raise UsageError("{where} is no text", code="text", where=where)
    return value or ""
