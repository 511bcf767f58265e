"""Claims: two restores never work on the same collection.

Each restore has a lease of its own, which names its targets. Who starts one holds a further lease, the door, while it looks
at the claims of the others and makes its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from mbk.engine.runtime.holder import Standing, read, standing
from mbk.engine.runtime.lease import PREFIX, Lease, holding, listed, sweep, taken
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, Busy, LeaseLost
from mbk.ports.storage import Storage

Aftermath = Callable[[Storage, Run], None]


@contextmanager
def hold_targets(
    storage: Storage,
    targets: Iterable[str],
    what: str,
    run: Run,
    *,
    pace: LeasePace | None = None,
    aftermath: Aftermath | None = None,
) -> Iterator[Lease]:
    """Exclusive access to these collections. `Busy` if another run restores into one of them; `LeaseLost` if another run
    took one over.

    ``aftermath`` tidies up what the run left behind, if another run did the same work in its place and has ended.
    """
    pace = pace or LeasePace()
    key = f"{storage.location.root}{PREFIX}restore-{uuid.uuid4().hex}"
    claim = Lease(storage, key, what, run, pace, tuple(sorted(targets)))
    with holding(claim, lambda: _come_back(claim, aftermath)):
        _enter(claim)
        yield claim


def _enter(claim: Lease) -> None:
    place = f"{claim.storage.location.root}{PREFIX}"
    door = Lease(claim.storage, f"{place}restores", "start of a restore", claim.run, claim.pace)
    try:
        taken(door, patience=4 * claim.pace.expiry)
        _refuse_shared(claim, place)
        taken(claim)
        door.require()  # whoever took it over meanwhile did not see this claim
    finally:
        door.release()
    sweep(claim, place)


def _refuse_shared(claim: Lease, place: str) -> None:
    with suppress(AccessError):
        for key in [entry.key for entry in listed(claim, place) if "/restore-" in entry.key]:
            other = read(claim.storage, key, claim.run)
            shared = sorted({*claim.targets} & {*(other.targets if other else ())})
            if not other or other.ended or not shared:
                continue
            found = standing(claim.storage, key, other, claim.run, claim.pace)
            if found is Standing.ALIVE or not claim.oust(key, found):
                raise Busy(
                    "another run is restoring into {collection}: {operation} (process {pid} on {machine})",
                    code="restore-in-progress",
                    collection=shared[0],
                    operation=other.what,
                    pid=other.pid,
                    machine=other.machine,
                    hint="wait for it to finish",
                )


def _come_back(claim: Lease, aftermath: Aftermath | None) -> None:
    """The key is this run's own: nobody else takes it."""
    successor = read(claim.storage, claim.key, claim.run)
    again = successor is not None and successor.done and successor.what == claim.what
    if again and aftermath is not None:
        with suppress(Busy, LeaseLost):
            what = f"end of the {claim.what}"
            with hold_targets(claim.storage, claim.targets, what, claim.run, pace=claim.pace):
                aftermath(claim.storage, claim.run)
    claim.storage.delete([claim.key])
