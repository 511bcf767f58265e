"""The schedules that servers were given over REST: one small object below ``.mbk/schedules/`` of the backup root.

All servers that share the root see them. The key says the revision, and a change writes the next one with a conditional create: of
two changes at once one comes first, and the other is made again upon it. Nothing is ever written over; the newest revision counts,
and a few older ones stay, so that whoever lists before a change and reads after it finds what was listed.
See docs/reference/backup-format.md#schedules.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import field

from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.decoding import Undecodable, decoded
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import Busy, InvalidBackup, MbkError, ObjectExists, ObjectNotFound, Unsupported
from mbk.model.layout import SCHEDULES
from mbk.model.records import Record
from mbk.ports.storage import Storage

VERSION = 1
_REVISION = re.compile(r"(\d{8})\.json")
#: Revisions that stay: a change that is prepared while so many others are made is not thinkable.
_KEPT = 20
#: Each that fails means that somebody else's change was made: more in a row are a loop of somebody's.
_ATTEMPTS = 10


class Scheduled(Record):
    """``id``: of this one, and of no other that had its name before. ``key`` and ``digest``: of the request that made it, which may come
    again. ``given``: what it does, in the words of the REST API."""

    id: str = ""
    key: str = ""
    digest: str = ""
    paused: bool = False
    given: dict[str, Any] = field(default_factory=dict)


class Schedules(Record):
    """A revision. ``token``: random, so that a writer whose answer was lost knows its own."""

    version: int = VERSION
    token: str = ""
    schedules: dict[str, Scheduled] = field(default_factory=dict)


Known = Mapping[str, Scheduled]


def read(storage: Storage, run: Run) -> Known:
    """The schedules by name. `InvalidBackup` for a revision that is no such object."""
    return _newest(storage, run)[1]


def change(storage: Storage, run: Run, edit: Callable[[Known], Known], *, settle: float) -> Known:
    """Makes a change, for which ``edit`` may be asked several times; what it raises ends it. `Busy` if others keep changing them.

    ``settle``: seconds until a write is seen by everybody, in a storage without conditional writes.
    """
    for _ in range(_ATTEMPTS):
        number, before = _newest(storage, run)
        after = edit(before)
        if after == before:
            return before
        if _write(storage, run, number + 1, after, settle):
            _tidy(storage, run)
            return after
    raise Busy(
        "the schedules in {location} are being changed by others all the time",
        code="schedules-contended",
        location=storage.location,
        hint="try again",
    )


def _newest(storage: Storage, run: Run) -> tuple[int, Known]:
    """The number of the newest revision, 0 if there is none, and what it says."""
    numbers = _numbers(storage, run)
    if not numbers:
        return 0, {}
    key = _key(storage, numbers[-1])
    data = Catalog(storage, run).read_file(key)
    try:
        found = decoded(bytes(data), Schedules)
    except Undecodable as wrong:
        raise _unreadable(key, wrong) from wrong
    if found.version != VERSION:
        raise _unreadable(key, f"version {found.version} is not known")
    return numbers[-1], found.schedules


def _unreadable(key: str, reason: object) -> InvalidBackup:
    return InvalidBackup(
        "{key}, the schedules that were made over REST, cannot be read: {reason}",
        code="schedules-unreadable",
        key=key,
        reason=reason,
        hint="use the newest mbk that shares this root; if the file is damaged, delete it: the one before it counts then",
    )


def _write(storage: Storage, run: Run, number: int, known: Known, settle: float) -> bool:
    """Whether the revision is ours."""
    key = _key(storage, number)
    data = msgspec.json.encode(Schedules(token=uuid.uuid4().hex, schedules={**known}))
    if storage.capabilities.conditional_write:
        try:
            run.retry.call(f"write {key}", lambda: storage.write_if_absent(key, [data], size=len(data)))
        except ObjectExists:
            return _holds(storage, run, key, data)
        except Unsupported:
            pass  # the profile promises what this server does not support
        else:
            return True
    if number in _numbers(storage, run):
        return False
    run.retry.call(f"write {key}", lambda: storage.write(key, [data], size=len(data)))
    run.sleep(settle)
    return _holds(storage, run, key, data)


def _holds(storage: Storage, run: Run, key: str, data: bytes) -> bool:
    try:
        return bytes(Catalog(storage, run).read_file(key)) == data
    except ObjectNotFound:
        return False


def _tidy(storage: Storage, run: Run) -> None:
    """What cannot be deleted changes nothing."""
    with suppress(MbkError):
        old = [_key(storage, number) for number in _numbers(storage, run)[:-_KEPT]]
        if old:
            run.retry.call(f"delete {old[0]}", lambda: storage.delete(old))


def _numbers(storage: Storage, run: Run) -> list[int]:
    place = f"{storage.location.root}{SCHEDULES}"
    names = (entry.key.removeprefix(place) for entry in listing.objects(storage, run, place))
    return sorted(int(found[1]) for name in names if (found := _REVISION.fullmatch(name)))


def _key(storage: Storage, number: int) -> str:
    return f"{storage.location.root}{SCHEDULES}{number:08}.json"
