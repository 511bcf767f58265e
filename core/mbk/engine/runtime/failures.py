"""Which errors concern one collection, and which the whole run."""

from __future__ import annotations

from mbk.errors import Interrupted, MbkError, StorageFull, Unreachable, UsageError


def concerns_everything(error: MbkError) -> bool:
    """Whether trying other collections is pointless: the service is away, the storage full, the run cancelled, or the
    request itself wrong.
    """
    return isinstance(error, (Interrupted, Unreachable, StorageFull, UsageError))
