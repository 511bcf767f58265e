"""Two storages to copy between, and the run that does it, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace

from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import STREAM
from mbk.frozen import frozen
from mbk.ports.storage import Storage

#: Objects, and groups of them, that are copied at once between file systems, unless the configuration says how many: a copy
#: is work of this machine and waits for nobody, and threads beyond its cores and disks only stand in line for the interpreter.
FILES = 8


def within(budget: Budget, source: Storage, destination: Storage) -> Budget:
    """What of the budget is worth using between these storages."""
    if not (budget.adaptive and source.location.mount and destination.location.mount):
        return budget
    return replace(
        budget,
        copies=min(budget.copies, FILES),
        parts=min(budget.parts, FILES),
        segments=min(budget.segments, FILES),
    )


@frozen(kw_only=True)
class Pair:
    """Several threads may use it, as they may use what is in it."""

    source: Storage
    destination: Storage
    run: Run
    limits: TransferLimits = field(default_factory=TransferLimits)

    def workers(self, way: Callable[[], str | None]) -> Callable[[], int]:
        """Tells how many threads can make requests now. ``way`` tells which way objects go: what the service copies by itself
        is no request to its source.
        """
        steering = self.run.steering
        by_server = steering.workers(self.destination.location)
        by_stream = steering.workers(self.source.location, self.destination.location)
        return lambda: by_stream() if way() == STREAM else by_server()
