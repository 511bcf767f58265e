"""A run that builds on the pool joins it: the writers' half of the rule in :mod:`mbk.engine.repository.pool.rule`."""

from __future__ import annotations

from mbk.engine.runtime.fence import Fence
from mbk.engine.runtime.holder import Standing, read, standing
from mbk.engine.runtime.lease import PREFIX, Lease
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import PermissionDenied
from mbk.model.layout import POOL_LEASE
from mbk.ports.storage import Storage


def join(storage: Storage, fence: Fence, run: Run, pace: LeasePace) -> None:
    """Returns once no run removes objects from the pool; from then on none begins to, as long as ``fence`` is held.

    To be called by a run that holds the lease of its backup, before it reads what earlier backups have. `PermissionDenied` if
    it holds none, as no lease could be written. Raises what the storage raises.
    """
    if not fence.is_held:
        raise PermissionDenied(
            "no lease can be written to {location}, so a run that removes objects could not know of this one",
            code="pool-needs-lease",
            location=storage.location,
            hint="allow writing and deleting below .mbk/, or use no pool: --no-incremental, or cp with --layout classic",
        )
    if not storage.capabilities.conditional_write:
        run.notice(
            "pool-unconditional",
            "{location} has no conditional writes: two runs that start under the same name at the same moment may both go on, "
            "and the one that ends last wins; what other backups have is safe all the same",
            location=storage.location,
        )
    _await_collector(storage, run, pace)


def _await_collector(storage: Storage, run: Run, pace: LeasePace) -> None:
    key, told = f"{storage.location.root}{PREFIX}{POOL_LEASE}", False
    while (other := read(storage, key, run)) is not None and not other.ended:
        if standing(storage, key, other, run, pace) is not Standing.ALIVE:
            # It must find its lease taken should it come back: it stopped amid removing.
            lease = Lease(storage, key, "start of an incremental backup", run, pace)
            lease.take(patience=pace.expiry)
            lease.release()
            return
        if not told:
            told = True
            run.notice(
                "pool-awaited",
                "waiting for another run: {operation} (process {pid} on {machine})",
                operation=other.what,
                pid=other.pid,
                machine=other.machine,
            )
        run.sleep(pace.poll)
