"""Which errors affect one collection, and which the whole run."""

from __future__ import annotations

from mbk.errors import Interrupted, LeaseLost, MbkError, StorageFull, Unreachable, UsageError


def cancelled() -> Interrupted:
    """What a step of a cancelled run raises."""
    return Interrupted("the run was cancelled", code="run-cancelled")


def concerns_everything(error: MbkError) -> bool:
    """Whether trying other collections is pointless: the service is unreachable, the storage full, the run cancelled or
    taken over, or the request itself wrong.
    """
    return isinstance(error, (Interrupted, LeaseLost, Unreachable, StorageFull, UsageError))
