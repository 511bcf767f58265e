"""Leases of the dead: those of a run that is proven to have ended, and those that nobody renewed for a day.

A run that is only silent may come back, and must then find who took its lease over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from mbk.engine.runtime import sign
from mbk.engine.runtime.holder import read
from mbk.engine.runtime.lease import PREFIX, PROBE, Lease, hold
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, Busy, StorageFull
from mbk.model.layout import GC_LEASE
from mbk.model.reports import Leftover
from mbk.model.states import LeftoverKind
from mbk.ports.storage import ObjectInfo, Storage


def find(storage: Storage, run: Run, pace: LeasePace) -> Iterator[Leftover]:
    now = datetime.now(UTC)
    for entry in _listed(storage, run):
        is_old = entry.modified is not None and now - entry.modified > pace.abandoned
        if is_old or _is_dead(storage, run, entry.key):
            yield Leftover(kind=LeftoverKind.LEASE, location=str(storage.location), name=entry.key)


def remove(storage: Storage, run: Run, pace: LeasePace, found: Sequence[Leftover]) -> Iterator[Leftover]:
    """Who holds a lease of its own sweeps the abandoned ones away; one of a dead run is taken over and returned, so that a
    run which takes it at this very moment keeps it."""
    if not found:
        return
    held: dict[str, str] = {}
    with hold(storage, GC_LEASE, "removal of dead leases", run, pace=pace, deletes=True):
        for item in found:
            try:
                _clear(storage, run, pace, item.name)
            except (Busy, AccessError) as error:
                held[item.name] = error.message
        left = {entry.key for entry in _listed(storage, run)}
    for item in found:
        is_gone = item.name not in left
        reason = "" if is_gone else held.get(item.name, "a run that may come back must find it")
        yield replace(item, outcome="removed" if is_gone else "kept", reason=reason)


def clear(storage: Storage, run: Run, pace: LeasePace) -> None:
    """Removes the leases of runs that are proven to have ended, as far as they can be removed: who is killed last of all leaves
    one that no other run would take over."""
    with suppress(AccessError, Busy, StorageFull):
        for entry in _listed(storage, run):
            _clear(storage, run, pace, entry.key)


def _clear(storage: Storage, run: Run, pace: LeasePace, key: str) -> None:
    """Removes a lease if its run is proven to have ended."""
    if _is_dead(storage, run, key):
        lease = Lease(storage, key, "removal of a dead lease", run, pace, deletes=True)
        lease.take()
        lease.release()


def _is_dead(storage: Storage, run: Run, key: str) -> bool:
    """Whether the run is proven to have ended, and no other one waits to find what it left."""
    holder = read(storage, key, run)
    return holder is not None and not (holder.ended or holder.ousted) and sign.is_dead(holder.token)


def _listed(storage: Storage, run: Run) -> list[ObjectInfo]:
    place = f"{storage.location.root}{PREFIX}"
    found = run.retry.call(f"list {place}", lambda: [*storage.list(place)])
    return sorted((entry for entry in found if PROBE not in entry.key), key=lambda entry: entry.key)
