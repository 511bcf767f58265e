"""The rule of removal: while a run that may build on the pool is registered, nothing is removed from the pool, and while
something is removed, no run begins to build on it.

A *writer* registers with the lease of its backup, then waits until no collector is there, and only then reads which objects
earlier backups have. A *collector* holds the lease `POOL_LEASE`, and then looks at the leases of the others. Each writes
before it looks, so that of two that come at once at least one sees the other; no clock is compared.

So what no committed backup names while a collector finds no writer, no later backup will name either: writers build on
nothing but records of committed backups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mbk.engine.runtime.holder import Holder, Standing, read, standing
from mbk.engine.runtime.lease import PREFIX, Lease, holding, sweep
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.frozen import frozen
from mbk.model.layout import POOL_LEASE
from mbk.ports.storage import Storage


@frozen
class Collector:
    """Holds the lease of the pool. Several threads may call it."""

    lease: Lease

    def writers(self) -> list[str]:
        """What the runs do that may build on the pool. Empty: objects that no committed backup names can be removed.

        A run that is dead, or silent, finds its lease taken should it come back, and does not commit.
        """
        run = self.lease.run
        # Each that is silent is watched for a while.
        with Pool(run.budget.readers, run.cancelled, name="mbk-writers") as pool:
            return sorted(filter(None, pool.map(self._writing, self._others())))

    @property
    def is_alone(self) -> bool:
        """Whether no writer has registered since. Waits for nobody; to be asked before each step."""
        return not any(True for _ in self._others())

    def _others(self) -> Iterator[tuple[str, Holder]]:
        return _registered(self.lease.storage, self.lease.run)

    def _writing(self, other: tuple[str, Holder]) -> str:
        """What a run that may write does; empty for one that no longer may."""
        key, holder = other
        found = standing(self.lease.storage, key, holder, self.lease.run, self.lease.pace)
        return holder.what if found is Standing.ALIVE or not self.lease.oust(key, found) else ""


def writing(storage: Storage, run: Run, pace: LeasePace) -> list[str]:
    """What the runs do that build on the pool now, for a plan: it holds no lease, and ends nobody's."""
    with Pool(run.budget.readers, run.cancelled, name="mbk-writers") as pool:
        told = pool.map(
            lambda other: (other[1], standing(storage, *other, run, pace)), _registered(storage, run)
        )
        return sorted(holder.what for holder, found in told if found is Standing.ALIVE)


def _registered(storage: Storage, run: Run) -> Iterator[tuple[str, Holder]]:
    """The leases of runs that may build on the pool."""
    place = f"{storage.location.root}{PREFIX}"
    for entry in listing.objects(storage, run, place):
        if entry.key == f"{place}{POOL_LEASE}":
            continue
        other = read(storage, entry.key, run)
        if other is not None and not _is_harmless(other):
            yield entry.key, other


def _is_harmless(other: Holder) -> bool:
    """Whether it never builds on the pool: it has ended, deletes a backup, or restores some collections."""
    return other.ended or other.deletes or bool(other.targets)


@contextmanager
def collecting(storage: Storage, run: Run, *, pace: LeasePace | None = None) -> Iterator[Collector]:
    """The right to remove objects from the pool, as far as there are no `Collector.writers`.

    `Busy` if another run removes some and goes on doing so for a while. Raises what the storage raises if the lease cannot be
    written: nothing is removed without it.
    """
    pace = pace or LeasePace()
    place = f"{storage.location.root}{PREFIX}"
    lease = Lease(storage, f"{place}{POOL_LEASE}", "removal of objects from the pool", run, pace)
    with holding(lease, lambda: None):
        lease.take(patience=2 * pace.expiry)
        sweep(lease, place)
        yield Collector(lease)
