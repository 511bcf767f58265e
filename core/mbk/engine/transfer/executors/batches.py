"""What goes to a worker and what comes back, as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from mbk.engine.transfer.items import CopyItem, Known
from mbk.errors import MbkError
from mbk.frozen import frozen
from mbk.model.events import Event
from mbk.ports.storage import MIB

#: Objects of a batch: enough that the way there and back costs little, few enough that a lost worker does, too.
OBJECTS = 16
#: Bytes of a batch, for the same reason; a larger object is a batch by itself.
BYTES = 256 * MIB
#: So long after a worker took up a batch it begins copies of it. A lease is taken over 30 s after its last renewal, and
#: renewed every 8 s: a worker that hears nothing any more of its run has stopped before another run begins.
SECONDS = 20.0


@frozen(kw_only=True)
class CopyBatch:
    """Objects to copy, all of them the ``way`` that was decided for their storages.

    Copies are begun for ``seconds`` after the batch was taken up; what is left then comes back undone.
    """

    items: tuple[CopyItem, ...]
    way: str
    seconds: float = SECONDS


@frozen(kw_only=True)
class Copied:
    """What is ``known`` of the copies, by key, and what the worker told meanwhile. ``error`` ended the batch early.

    ``strain``: how hard the worker was at it so far.
    """

    known: Mapping[str, Known] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    error: MbkError | None = None
    strain: Strain | None = None


@frozen(kw_only=True)
class Strain:
    """``most``: the requests that ``worker`` had in flight at one storage at once. ``limited``: why it was not faster."""

    worker: str
    most: int
    limited: str | None


def batches(items: Iterable[CopyItem], way: str) -> Iterator[CopyBatch]:
    """All items in batches of at most `OBJECTS` and `BYTES`, as they come."""
    batch: list[CopyItem] = []
    size = 0
    for item in items:
        if batch and (len(batch) >= OBJECTS or size + item.size > BYTES):
            yield CopyBatch(items=tuple(batch), way=way)
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield CopyBatch(items=tuple(batch), way=way)
