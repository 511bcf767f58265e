"""Which objects of the pool are known to be damaged, and which backups that concerns.

Verifications write the list; no new backup builds on what is on it, but copies it again, to its own key. Two that write it at
once may lose what one of them found, which the next verification finds again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from msgspec import field

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.record import Record as ObjectsRecord
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted, MbkError, ObjectNotFound
from mbk.model.layout import DAMAGED
from mbk.model.manifest import SHARED
from mbk.model.records import Record
from mbk.model.states import BackupState, FindingKind
from mbk.ports.storage import Storage

#: What says that an object is not the one that was recorded.
KINDS = frozenset({FindingKind.MISSING, FindingKind.RESIZED, FindingKind.CHANGED, FindingKind.DAMAGED})
#: Which of these a listing alone disproves.
BY_LISTING = frozenset({FindingKind.MISSING, FindingKind.RESIZED})


class DamagedObject(Record):
    """``kind``: a :class:`mbk.model.states.FindingKind`; ``at``: when it was found, RFC 3339 in UTC."""

    kind: str = ""
    at: str = ""


class Damaged(Record):
    """``.mbk/pool/damaged.json``: key, relative to the pool -> what was found."""

    version: int = 1
    objects: dict[str, DamagedObject] = field(default_factory=dict)


def read_damaged(storage: Storage, run: Run) -> dict[str, DamagedObject]:
    """The objects that are known to be damaged. What cannot be decoded is told, and taken for empty."""
    key = f"{storage.location.root}{DAMAGED}"
    try:
        data = Catalog(storage, run).read_file(key)
        return msgspec.json.decode(data, type=Damaged).objects
    except ObjectNotFound:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        run.notice(
            "damaged-unreadable",
            "{key}, the list of damaged objects, cannot be read, so none is known: verify the backups again: {reason}",
            key=key,
            reason=error,
        )
        return {}


def write_damaged(storage: Storage, run: Run, objects: Mapping[str, DamagedObject]) -> None:
    """Replaces the list; an empty one is removed."""
    key = f"{storage.location.root}{DAMAGED}"
    if objects:
        data = msgspec.json.encode(Damaged(objects={**objects}))
        Catalog(storage, run).write(key, lambda: [data])
    else:
        run.retry.call(f"delete {key}", storage.delete, [key])


def tell_damaged(
    storage: Storage,
    run: Run,
    record: ObjectsRecord,
    damaged: Mapping[str, FindingKind],
    *,
    proven: bool,
    at: str,
) -> None:
    """Puts on the list what was found ``damaged`` of the objects in a record, and takes off what was found whole.

    ``proven``: the bytes of the others were read, and not only their names and sizes compared.
    """
    known = read_damaged(storage, run)
    named = {entry.key for entry in record.objects() if entry.key in known} if known else set()
    whole = {key for key in named - damaged.keys() if proven or known[key].kind in BY_LISTING}
    found = {key: DamagedObject(kind=kind, at=at) for key, kind in damaged.items() if key not in known}
    if found or whole:
        left = {key: item for key, item in known.items() if key not in whole}
        write_damaged(storage, run, {**left, **found})


def tell_whole(storage: Storage, run: Run, keys: Collection[str]) -> None:
    """Takes off the list what was copied again."""
    known = read_damaged(storage, run) if keys else {}
    left = {key: item for key, item in known.items() if key not in keys}
    if len(left) < len(known):
        write_damaged(storage, run, left)


def concerned(catalog: Catalog, run: Run, keys: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Key, relative to the pool -> the names of all backups that have it. Reads the record of each shared backup."""
    names = [
        item.name
        for item in catalog.summaries()
        if item.format == SHARED or item.state is BackupState.UNREADABLE
    ]
    found: dict[str, list[str]] = {key: [] for key in keys}

    def one(name: str) -> tuple[str, list[str]]:
        try:
            record = catalog.open_record(catalog.committed(name))
        except Interrupted:
            raise
        except MbkError as error:
            run.notice(
                "not-known-to-share",
                "whether backup {backup!r} has these objects is not known: {reason}",
                backup=name,
                reason=error.message,
            )
            return name, []
        if record is None:
            return name, []  # a classic one
        with record:
            return name, [entry.key for entry in record.objects() if entry.key in found]

    with Pool(run.budget.readers, run.cancelled, name="mbk-concerned") as pool:
        for name, has in pool.map(one, names):
            for key in has:
                found[key].append(name)
    return {key: tuple(sorted(those)) for key, those in found.items()}
