"""How many objects and bytes were copied, by the way they went, and which no digest was compared for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from mbk.engine.runtime.budget import Room
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import KEPT, SERVER, STREAM, Arrived
from mbk.model.events import ObjectCopied
from mbk.model.reports import TransferStats
from mbk.ports.storage import MIB, Location


class Tally:
    """Several threads may call it."""

    def __init__(self, run: Run, where: Location) -> None:
        self._run = run
        self._where = where
        self._lock = threading.Lock()
        self._objects: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._unproven: Counter[str] = Counter()

    def count(self, key: str, size: int, how: str, collection: str) -> None:
        with self._lock:
            self._objects[how] += 1
            self._bytes[how] += size
        self._run.emit(ObjectCopied(collection=collection, key=key, size=size, how=how))

    def note_unproven(self, arrived: Iterable[Arrived]) -> None:
        # The plugin of a file system hashes what it copies, and a file system tells no digests.
        if not self._where.mount:
            with self._lock:
                self._unproven.update(item.known.how for item in arrived if not item.known.proven)

    def tell_unproven(self) -> None:
        """Notices, once a run, which copies no digest was compared for."""
        with self._lock:
            left = Counter(self._unproven)
        if left[SERVER]:
            self._run.notice(
                "copies-compared-by-size",
                "{count} objects were copied by {location} itself and compared with their source by size only, "
                "because it tells no digests of them; --checksum full reads copies back",
                count=left[SERVER],
                location=self._where,
            )
        if left[STREAM]:
            self._run.notice(
                "writes-compared-by-size",
                "{count} objects in {location} were compared with what was sent by size only, "
                "because it tells no digests of them; --checksum full reads them back",
                count=left[STREAM],
                location=self._where,
            )

        if left[KEPT]:
            self._run.notice(
                "kept-compared-by-size",
                "{count} objects that were in {location} already were compared with their source by size only, "
                "because no digests of both are told; --checksum full reads them",
                count=left[KEPT],
                location=self._where,
            )

    def stats(self, *, streamed_because: str | None, streamed_hint: str | None, room: Room) -> TransferStats:
        with self._lock:
            return TransferStats(
                objects=dict(self._objects),
                bytes=dict(self._bytes),
                streamed_because=streamed_because,
                streamed_hint=streamed_hint,
                retries=self._run.retry.retries,
                limited_because=limits_met(self._run, room),
                concurrency=self._run.brakes.most,
            )


def limits_met(run: Run, room: Room) -> str | None:
    """Why the copies of a run were not faster, as far as its budget tells."""
    budget = run.budget
    reasons = [*run.brakes.limited(budget)]
    if room.was_short:
        reasons.append(
            f"at most {room.most} of {budget.copies} copies were streamed at once, "
            f"to stay within {budget.memory // MIB} MiB of memory"
        )
    return "; ".join(reasons) or None
