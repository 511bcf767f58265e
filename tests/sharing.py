"""A shared backup, made of a classic one that has a record: its objects lie in the pool, where any backups may have put them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mbk.config.schema import StorageChoice
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.commit import NewRecord
from mbk.engine.repository.record import encode_record
from mbk.engine.repository.seal import Hashing, digest_of
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.run import Run
from mbk.model import layout
from mbk.model.manifest import SHARED
from mbk.ports.storage import Storage
from mbk.registry.registry import Registry

#: Who put the objects into the pool, unless a test says otherwise.
OWNER = "00000000-0000-4000-8000-000000000001"


def share(storage: Storage, name: str, into: Callable[[str], str] = lambda _key: OWNER) -> None:
    """``into``: below which id of the pool the object with this key lies, which is relative to the classic backup's prefix."""
    catalog, root = Catalog(storage, Run()), storage.location.root
    committed = catalog.committed(name)
    place, pool = committed.stored.layout, layout.pool_prefix(root)
    numbers = [item.collection_id for item in committed.backup.collection_backups]
    record = catalog.open_record(committed)
    assert record is not None
    with record, SegmentSpool() as spool:
        for number in numbers:
            for item in record.of(number).values():
                key = f"{into(item.key)}/{item.key}"
                storage.write(f"{pool}{key}", [bytes(catalog.read_file(f"{place.prefix}{item.key}"))])
                etag = storage.stat(f"{pool}{key}").etag or ""
                spool.add_objects(number, [msgspec.structs.replace(item, key=key, etag=etag)])
        chunks, hashing = [*encode_record(f"{storage.location}/{name}", numbers, spool)], Hashing()
        for chunk in chunks:
            hashing.add(chunk)
        made = NewRecord(uuid.uuid4().hex, record.count, hashing.digest, lambda: iter(chunks))
    mark = msgspec.to_builtins(made.mark(failed=committed.manifest.failed))
    files = {made.name: b"".join(chunks)}
    for file, members in ((layout.BACKUP_META, {}), (layout.FULL_META, {"mbk": mark})):
        files[file] = _with(catalog.read_file(place.meta(file)), {"format": SHARED, **members})
    old = [entry.key for entry in storage.list(place.prefix) if "/binlogs/" in entry.key]
    old += [place.meta(file) for file in committed.stored.files if layout.is_record(file)]
    digests = {file: it for file, it in committed.manifest.files.items() if not layout.is_record(file)}
    manifest = msgspec.structs.replace(
        committed.manifest,
        commit=made.commit,
        format=SHARED,
        files={**digests, **{file: digest_of([data]) for file, data in files.items()}},
    )
    for file, data in files.items():
        storage.write(place.meta(file), [data])
    catalog.write_manifest(name, manifest)
    storage.delete(old)


def _with(data: bytes | bytearray, members: dict[str, Any]) -> bytes:
    return json.dumps({**json.loads(data), **members}).encode()


def share_in(backups: Path, name: str) -> None:
    """As `share`, of a backup in a directory."""
    with _opened(backups) as storage:
        share(storage, name)


def named_in(backups: Path, *names: str) -> dict[str, int]:
    """The keys, relative to the pool, and the sizes of all that these shared backups in a directory name."""
    found = dict[str, int]()
    with _opened(backups) as storage:
        catalog = Catalog(storage, Run())
        for name in names:
            record = catalog.open_record(catalog.committed(name))
            assert record is not None
            with record:
                found |= {item.key: item.size for item in record.objects()}
    return found


@contextmanager
def _opened(backups: Path) -> Iterator[Storage]:
    registry = Registry(disabled=())
    storage = registry.open(StorageChoice(type="local", values={"root_path": str(backups)}))
    try:
        yield storage
    finally:
        storage.close()


def share_after(storage: Storage, name: str, owner: str, *earlier: str) -> None:
    """As `share`: what one of the ``earlier`` owners has in the pool is not put there again."""
    pool = layout.pool_prefix(storage.location.root)
    there = {entry.key.removeprefix(pool) for entry in storage.list(pool)}

    def into(key: str) -> str:
        return next((one for one in earlier if f"{one}/{key}" in there), owner)

    share(storage, name, into)
