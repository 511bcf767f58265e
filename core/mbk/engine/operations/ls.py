"""The operation `ls`: what lies in a place, as the storage lists it. No metadata is read, nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import NotFound, ObjectNotFound
from mbk.model.listings import Entry
from mbk.ports.storage import ObjectInfo, Storage


def entries(storage: Storage, run: Run, prefix: str, *, recursive: bool, totals: bool) -> Iterator[Entry]:
    """The objects below ``prefix`` (empty or ending with ``/``), or its next level; of an object, that one.

    ``totals``: what each directory contains is counted. The objects of a recursive listing are not kept in memory, and
    they come in the order of the service. `NotFound` if there is nothing, except in the bucket itself.
    """
    is_empty = True
    for entry in _all(storage, prefix) if recursive else _level(storage, run, prefix, totals=totals):
        is_empty = False
        yield entry
    if is_empty and prefix:
        yield _object_itself(storage, prefix)


def _all(storage: Storage, prefix: str) -> Iterator[Entry]:
    for item in storage.list(prefix):
        yield _entry(item, item.key.removeprefix(prefix))


def _level(storage: Storage, run: Run, prefix: str, *, totals: bool) -> Iterator[Entry]:
    level = listing.level(storage, run, prefix)
    for below in sorted(level.prefixes):
        name = below.removeprefix(prefix)
        yield _counted(storage, run, below, name) if totals else Entry(name=name)
    for item in sorted(level.objects, key=lambda item: item.key):
        yield _entry(item, item.key.removeprefix(prefix))


def _counted(storage: Storage, run: Run, prefix: str, name: str) -> Entry:
    def read(found: Iterator[ObjectInfo]) -> Entry:
        objects, size, newest = 0, 0, None
        for item in found:
            objects, size, newest = objects + 1, size + item.size, _newer(newest, item.modified)
        return Entry(name=name, size=size, modified=newest, objects=objects)

    return listing.consume(storage, run, read, prefix)


def _newer(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)


def _object_itself(storage: Storage, prefix: str) -> Entry:
    try:
        found = storage.stat(prefix.removesuffix("/"))
    except ObjectNotFound:
        raise NotFound(
            "nothing lies at {place}",
            code="nothing-listed",
            place=replace(storage.location, root=prefix),
            hint="list what is above it, or see `mbk list` for the backups",
        ) from None
    return _entry(found, found.key.rpartition("/")[2])


def _entry(item: ObjectInfo, name: str) -> Entry:
    return Entry(
        name=name,
        size=item.size,
        modified=item.modified,
        etag=item.etag or "",
        storage_class=item.storage_class,
    )
