"""The mapping of a restore plan: the targets of a backup's databases and collections; a source may have several.

It is the ``restorePlan.mapping`` of the classic REST API (docs/reference/classic-tool.md#restore-options), a list of
``{source, target, withProp, colls: [{source, target, override: {shardNum, description}}]}``. A database with ``colls``
restores those collections, one without restores all. Anything else is not restored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.declared import unknown_key, wrong_type
from mbk.model.records import DEFAULT_DATABASE


@frozen(kw_only=True)
class CollectionMapping:
    """``shards`` 0 and ``description`` None: as in the backup."""

    source: str
    target: str
    shards: int = 0
    description: str | None = None


@frozen(kw_only=True)
class DatabaseMapping:
    """``collections`` empty: all of the database, under their own names. ``properties``: also those of the database."""

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
        raise wrong_type(f"{where}.withProp", with_properties, "true or false")
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
            "{mapping} has no source",
            code="mapping-source-missing",
            mapping=where,
            hint="name a collection of the backup",
        )
    override = _object(entry.get("override") or {}, f"{where}.override", {"shardNum", "description"})
    shards = override.get("shardNum") or 0
    if not isinstance(shards, int) or isinstance(shards, bool) or shards < 0:
        raise UsageError(
            "{option} must be a number of shards",
            code="shard-number-invalid",
            option=f"{where}.override.shardNum",
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
        raise wrong_type(where, value, "a list")
    return list(value)


def _object(value: object, where: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong_type(where, value, "an object")
    if unknown := sorted(set(value) - known):
        raise unknown_key(where, unknown[0], sorted(known))
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str | None):
        raise wrong_type(where, value, "a string")
    return value or ""
