"""The contents of a backup, as `Session.get` returns them: typed values, and the JSON document of the classic tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Self

from mbk.frozen import frozen
from mbk.model.locking import BackupLock
from mbk.model.records import DEFAULT_DATABASE
from mbk.model.reports import Pin, Verification
from mbk.model.states import BackupState, Depth


@frozen(kw_only=True)
class BackupPartition:
    """``size`` in bytes; ``rows`` are those of its data segments, before deletes."""

    name: str
    id: int
    size: int
    segments: int
    rows: int


@frozen(kw_only=True)
class BackupIndex:
    field: str
    name: str
    type: str
    params: Mapping[str, str]


@frozen(kw_only=True)
class Protection:
    """How a collection was protected: the scope of its consistency point (``all``, ``own`` or ``none``), its time as text,
    and whether Milvus' garbage collection was paused. ``point``: the hybrid timestamp up to which the backup is known to
    be complete, and at which a restore cuts; 0 if there is none."""

    boundary: str
    at: str
    gc_paused: bool
    point: int = 0


@frozen(kw_only=True)
class BackupCollection:
    """``size`` in bytes. ``partitions``, ``rows`` (of its data segments, before deletes) and ``l0_segments`` are set with
    ``detail`` only; ``protection`` if mbk made the backup."""

    database: str
    name: str
    id: int
    size: int
    shards: int
    load_state: str
    aliases: tuple[str, ...]
    fields: tuple[str, ...]
    indexes: tuple[BackupIndex, ...]
    partitions: tuple[BackupPartition, ...]
    protection: Protection | None
    rows: int | None = None
    l0_segments: int | None = None

    @property
    def segments(self) -> int | None:
        """All that it has; None without ``detail``."""
        if self.l0_segments is None:
            return None
        return self.l0_segments + sum(part.segments for part in self.partitions)


@frozen(kw_only=True)
class BackupInfo:
    """One backup. Without a commit only name, id, state, times and reason are known.

    ``size`` and ``meta_size`` in bytes, None where they are not known; ``created`` as in a `BackupSummary`, and ``finished`` None if it was not recorded. ``failed``: collections
    that are not in it, as ``db.coll``, with the reason. ``verified``: its last verification, None without one; ``pin`` and ``locked``: what keeps it, if anything does. ``added`` and
    ``frees`` as in a `BackupSummary`. ``document`` is everything under the classic tool's names, as
    ``mbk get`` prints it: plain JSON values without secrets.
    """

    name: str
    id: str
    state: BackupState
    size: int | None
    meta_size: int | None
    milvus_version: str
    format: str
    created: datetime | None
    finished: datetime | None
    reason: str
    collections: tuple[BackupCollection, ...]
    databases: tuple[str, ...]
    failed: Mapping[str, str]
    labels: Mapping[str, str]
    document: Mapping[str, Any] = field(repr=False)
    pin: Pin | None = None
    locked: BackupLock | None = None
    added: int | None = None
    frees: int | None = None
    verified: Verification | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From the document."""
        return cls(
            name=document["name"],
            id=document.get("id", ""),
            state=BackupState(document["state"]),
            size=document.get("size"),
            meta_size=document.get("meta_size"),
            milvus_version=document.get("milvus_version", ""),
            format=document.get("format", ""),
            created=_moment(document.get("created", "")),
            finished=_moment(document.get("finished", "")),
            reason=document.get("reason", ""),
            collections=tuple(map(_collection, document.get("collection_backups") or ())),
            databases=tuple(item.get("db_name", "") for item in document.get("database_backups") or ()),
            failed=dict(document.get("failed") or {}),
            labels=dict(document.get("labels") or {}),
            document=document,
            pin=_pin(document.get("pin")),
            locked=_lock(document.get("locked")),
            added=document.get("added"),
            frees=document.get("frees"),
            verified=_verification(document.get("verified")),
        )


def _collection(item: Mapping[str, Any]) -> BackupCollection:
    schema, protection = item.get("schema") or {}, item.get("protection")
    partitions = tuple(map(_partition, item.get("partition_backups") or ()))
    detailed = "partition_backups" in item
    return BackupCollection(
        database=item.get("db_name") or DEFAULT_DATABASE,
        name=item.get("collection_name", ""),
        id=item.get("collection_id", 0),
        size=item.get("size", 0),
        shards=item.get("shards_num", 0),
        load_state=item.get("load_state", ""),
        aliases=tuple(item.get("aliases") or ()),
        fields=tuple(entry.get("name", "") for entry in schema.get("fields") or ()),
        indexes=tuple(map(_index, item.get("index_infos") or ())),
        partitions=partitions,
        protection=Protection(**protection) if protection else None,
        rows=sum(part.rows for part in partitions) if detailed else None,
        l0_segments=len(item.get("l0_segments") or ()) if detailed else None,
    )


def _index(item: Mapping[str, Any]) -> BackupIndex:
    params = item.get("params") or {}
    return BackupIndex(
        field=item.get("field_name", ""),
        name=item.get("index_name", ""),
        type=item.get("index_type") or params.get("index_type", ""),
        params={str(key): str(value) for key, value in params.items()},
    )


def _partition(item: Mapping[str, Any]) -> BackupPartition:
    segments = item.get("segment_backups") or ()
    return BackupPartition(
        name=item.get("partition_name", ""),
        id=item.get("partition_id", 0),
        size=item.get("size", 0),
        segments=len(segments),
        rows=sum(segment.get("num_of_rows", 0) for segment in segments if not segment.get("is_l0")),
    )


def _pin(item: Mapping[str, Any] | None) -> Pin | None:
    return Pin(until=_moment(item.get("until") or ""), reason=item.get("reason", "")) if item else None


def _lock(item: Mapping[str, Any] | None) -> BackupLock | None:
    return BackupLock(item.get("mode", ""), _moment(item.get("until") or "")) if item else None


def _verification(item: Mapping[str, Any] | None) -> Verification | None:
    at = _moment(item.get("at", "")) if item else None
    if item is None or at is None:
        return None
    return Verification(at, Depth(item["depth"]), item.get("findings", 0), item.get("sample", 100))


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
