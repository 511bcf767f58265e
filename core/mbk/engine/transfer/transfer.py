"""The only copier of the engine: many objects from one storage to another, counted and looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType

from mbk.engine.runtime.budget import Room
from mbk.engine.runtime.fence import Guarding
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.arrival import Arrivals
from mbk.engine.transfer.copier import Copier
from mbk.engine.transfer.executors.away import Away
from mbk.engine.transfer.items import CONVERT, KEPT, Arrived, CopyItem, Known
from mbk.engine.transfer.pair import Pair, within
from mbk.engine.transfer.proof import Proof
from mbk.engine.transfer.tally import Tally
from mbk.engine.transfer.tries import TRIES, tell_again, tried
from mbk.errors import ObjectNotFound, VerificationFailed
from mbk.model.reports import TransferStats
from mbk.ports.storage import ObjectInfo, Storage, ability


class Transfer:
    """Copies between one pair of storages, as much at once as the run's budget allows: by itself, or by workers.

    Several threads may call it, except those of its own pools. Close it, or use it as a context manager. ``records``:
    digests are wanted, so that one copy may be read to find out whether etags are. ``full``: every copy is read back.
    """

    def __init__(
        self,
        *,
        source: Storage,
        destination: Storage,
        run: Run,
        limits: TransferLimits,
        records: bool = False,
        full: bool = False,
    ) -> None:
        budget = within(run.budget, source, destination)
        self._destination = destination
        self._run = run
        pair = Pair(source=source, destination=destination, run=run, limits=limits)
        useful = pair.workers(lambda: self._copier.way)
        self._pool = Pool(budget.copies, run.cancelled, name="mbk-copy", useful=useful)
        # A pool of its own: a worker that copies a large object waits for its parts.
        self._parts = Pool(budget.parts, run.cancelled, name="mbk-part", useful=useful)
        self._room = Room(budget.memory, run.cancelled)
        proof = Proof(source, destination, run)
        self._copier = Copier(pair, proof, parts=self._parts, room=self._room)
        self._arrivals = Arrivals(destination.location, proof, self._room, records=records, full=full)
        self._tally = Tally(run, destination.location)
        self._fence = ability(destination, Guarding)
        self._away = Away(pair, limits.executor) if limits.executor is not None else None

    def __enter__(self) -> Transfer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            stack.callback(self._copier.close)
            stack.callback(self._parts.close)
            stack.callback(self._pool.close)
            if self._away is not None:
                stack.callback(self._away.close)

    def prepare(self) -> None:
        """Starts the workers, if there are to be any: they get ready while the run does other things."""
        if self._away is not None:
            self._away.start()

    @property
    def stats(self) -> TransferStats:
        stats = self._tally.stats(
            streamed_because=self._copier.streams_because,
            streamed_hint=self._copier.streams_unless,
            room=self._room,
        )
        return stats if self._away is None else self._away.added_to(stats)

    def tell_unproven(self) -> None:
        """Notices, once a run, which copies no digest was compared for."""
        self._tally.tell_unproven()

    def arrive(
        self,
        items: Sequence[CopyItem],
        *,
        collection: str,
        present: Mapping[str, ObjectInfo],
        listed: Callable[[], Mapping[str, ObjectInfo]],
    ) -> list[Arrived]:
        """Copies all items, and returns them as they are in a listing made afterwards, with what is known of each.

        ``present`` as for `copy`; ``listed`` lists the destination. What is missing there or differs from its source is
        copied again, and is `VerificationFailed` in the end.
        """
        left, arrived = items, dict[str, Arrived]()
        for rest in range(TRIES - 1, -1, -1):
            known = self.copy(left, collection=collection, present=present, again=left is not items)
            there = listed()
            failed = dict[str, VerificationFailed]()
            for item, result in self._looked_at(left, there, known):
                if isinstance(result, VerificationFailed):
                    failed[item.key] = result
                else:
                    arrived[item.key] = result
            if not failed:
                break
            error = next(iter(failed.values()))
            if not rest:
                raise error
            tell_again(self._run, error, len(failed))
            left, present = [item for item in left if item.key in failed], {}
        self._tally.note_unproven(arrived.values())
        return [arrived[item.key] for item in items]

    def copy(
        self,
        items: Iterable[CopyItem],
        *,
        collection: str,
        present: Mapping[str, ObjectInfo],
        again: bool = False,
    ) -> dict[str, Known]:
        """Copies all items, or raises the first error once the running copies have ended.

        ``present``: the objects already in the destination, by key; one that is the same is kept. ``again``: they were
        counted before. Returns what is known of each, by key; they are not looked at (`arrive`).
        """

        def counted(item: CopyItem, known: Known) -> tuple[str, Known]:
            if not again:
                self._tally.count(item.key, item.size, known.how, collection)
            return item.key, known

        def one(item: CopyItem) -> tuple[str, Known]:
            return counted(item, self._copier.copy(item, present.get(item.key)))

        if self._away is None:
            return dict(self._pool.gather(one, [*items]))
        here, away = self._parted(items, present)
        made = dict(self._pool.gather(one, here))
        while away and self._copier.way is None:
            made.update([one(away.pop())])
        copies = self._away.copied(away, self._copier.way or "") if away else ()
        return made | dict(counted(*copy) for copy in copies)

    def _parted(
        self, items: Iterable[CopyItem], present: Mapping[str, ObjectInfo]
    ) -> tuple[list[CopyItem], list[CopyItem]]:
        """Those to be done by this process, and those that workers may do.

        What may be there already is compared here. What is written under the fence only, too: a worker cannot ask it.
        """
        here: list[CopyItem] = []
        away: list[CopyItem] = []
        for item in items:
            guarded = self._fence is not None and self._fence.is_guarded(item.key)
            (here if guarded or item.key in present else away).append(item)
        return here, away

    def keep(self, items: Iterable[CopyItem], *, collection: str, how: str = KEPT) -> None:
        """Counts objects that are where they are to be: their source is their copy, or an earlier backup has them."""
        for item in items:
            self._tally.count(item.key, item.size, how, collection)

    def write(self, key: str, data: bytes, *, collection: str) -> Known:
        """Writes an object that was made here, of objects of the source; returns what is known of it."""
        item = CopyItem(source_key=key, key=key, size=len(data))
        known = tried(self._run, lambda: self._copier.write(item, data))
        self._tally.count(key, len(data), CONVERT, collection)
        return known

    def made(self, key: str, data: bytes, *, collection: str) -> Arrived:
        """As `write`, and looks at the object afterwards."""
        item = CopyItem(source_key=key, key=key, size=len(data))

        def once() -> Arrived:
            known = self._copier.write(item, data)
            try:
                entry = self._run.retry.call(f"stat {key}", self._destination.stat, key)
            except ObjectNotFound:
                entry = None
            return self._arrivals.look(item, entry, known)

        arrived = tried(self._run, once)
        self._tally.count(key, len(data), CONVERT, collection)
        return arrived

    def _looked_at(
        self, items: Sequence[CopyItem], there: Mapping[str, ObjectInfo], known: Mapping[str, Known]
    ) -> Iterator[tuple[CopyItem, Arrived | VerificationFailed]]:
        def one(item: CopyItem) -> tuple[CopyItem, Arrived | VerificationFailed]:
            try:
                return item, self._arrivals.look(item, there.get(item.key), known[item.key])
            except VerificationFailed as error:
                return item, error

        return self._pool.map(one, items) if self._arrivals.full else map(one, items)
