"""Which errors concern one collection, and which the whole run."""

from __future__ import annotations

from mbk.errors import Interrupted, MbkError, StorageFull, Unreachable, UsageError


def concerns_everything(error: MbkError) -> bool:
    """Whether going on with other collections is pointless: nobody answers, no room is left, the user said stop."""
    return isinstance(error, (Interrupted, Unreachable, StorageFull, UsageError))
