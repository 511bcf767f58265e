"""The binlog format: Milvus' own objects, copied unchanged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from itertools import chain
from typing import TYPE_CHECKING

from mbk.engine.backup.gc_pause import Lease, pausing
from mbk.engine.formats.base import BackupFormat, BackupWork, Clusters, Estimate, RestoreWork
from mbk.engine.formats.binlog.backup import CollectionWorker, segments_now, stored_fields
from mbk.engine.formats.binlog.belongings import belongings
from mbk.engine.formats.binlog.details import SegmentDetails
from mbk.engine.formats.binlog.discover import SegmentFiles, SegmentGone, discover, require_milvus_data
from mbk.engine.formats.binlog.groups import Group, Logs, grouped, listed
from mbk.engine.formats.binlog.orphans import SegmentUnclear
from mbk.engine.formats.binlog.prepared import PreparedRestore, prepare
from mbk.engine.formats.binlog.reusing import Present, Reuse
from mbk.engine.formats.binlog.sweep import sweep, sweep_pool
from mbk.engine.formats.binlog.verifying import BinlogVerifying
from mbk.engine.formats.binlog.versions import refuse_manifests
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.collections import CollectionBackup, label_of
from mbk.engine.repository.pool.bases import Bases
from mbk.engine.repository.pool.joining import join
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.context import ClusterContext, Context
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.load import copying
from mbk.engine.transfer.pair import Pair, within
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import BucketNotFound, UsageError
from mbk.frozen import frozen
from mbk.model.flows import Flow
from mbk.model.layout import BackupLayout
from mbk.model.manifest import SHARED
from mbk.model.options import CreateOptions, Strategy
from mbk.model.records import ALL_PARTITIONS, Backup
from mbk.model.reports import CheckResult
from mbk.model.selection import Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, SegmentInfo
from mbk.ports.storage import ObjectInfo, Storage

if TYPE_CHECKING:
    from mbk.engine.formats.binlog.compact import BinlogCompaction
    from mbk.engine.formats.binlog.standby import BinlogStandby

#: Segments of a collection whose files are listed to tell about how much there is: few enough to take no time beside the copying,
#: enough that the others, told by their rows, are about right.
SAMPLED = 64


class BinlogFormat:
    """The format of the classic tool, which every server can import."""

    name = "binlog"
    recorded = frozenset({"", "binlog", SHARED})
    level_files = True

    def backup(
        self, context: ClusterContext, options: CreateOptions, selection: Selection, *, before: str | None
    ) -> BackupFormat | None:
        shared = is_shared(context, options, before)
        return BinlogBackup(context, options, selection, SHARED if shared else "")

    def restore(self, context: ClusterContext, work: RestoreWork) -> PreparedRestore:
        return prepare(context, work)

    def checks(self, milvus: Milvus, storage: Storage, backup_storage: Storage) -> Iterator[CheckResult]:
        """None of its own: copying between the two storages is checked for every format."""
        yield from ()

    def verifying(self) -> BinlogVerifying:
        return BinlogVerifying()

    def require_movable(self, name: str) -> None:
        """Always: its objects do not depend on their location."""

    def belongings(self, context: Context, catalog: Catalog, committed: Committed) -> Iterator[ObjectInfo]:
        return belongings(context.backup_storage, context.run, catalog, committed)

    def compact(self, context: Context, catalog: Catalog, name: str, *, full: bool) -> BinlogCompaction:
        from mbk.engine.formats.binlog.compact import BinlogCompaction

        return BinlogCompaction.of(context, catalog, name, full=full)

    def standby(
        self, context: ClusterContext, catalog: Catalog, backup: Backup, clusters: Clusters
    ) -> BinlogStandby:
        from mbk.engine.formats.binlog.standby import BinlogStandby

        return BinlogStandby.of(context, catalog, backup, clusters)


@frozen
class BinlogBackup:
    context: ClusterContext
    options: CreateOptions
    selection: Selection
    recorded: str = ""
    by_milvus: bool = False

    @property
    def _has_data(self) -> bool:
        return self.options.strategy is not Strategy.META_ONLY

    def accept(self, info: CollectionInfo) -> None:
        # Only these servers have segments that the format does not support.
        if self._has_data and Feature.SNAPSHOT in self.context.milvus.features:
            refuse_manifests(self._segments(info), f"a segment of {label_of(info)}")

    def refuse(self, infos: Sequence[CollectionInfo]) -> None:
        if self._has_data:
            self.context.limits.transfer.require_workers()
            require_milvus_data(self.context.storage, self.context.milvus, infos, self.context.run)

    def estimate(self, info: CollectionInfo) -> Estimate:
        """By listing the segments' files. For segments that are just being compacted only the rows are counted."""
        if not self._has_data:
            return Estimate(objects=0, size=0, rows=0)
        segments = self._chosen(info)
        with self._known() as known:
            flow = self._flow(info, segments, known)
        return Estimate(
            objects=flow.objects,
            size=flow.size,
            rows=_rows(segments),
            flow=flow,
            present=known.objects,
            present_size=known.size,
        )

    @contextmanager
    def _known(self) -> Iterator[Present]:
        """What earlier backups have, of a shared backup that is only planned: nobody is waited for."""
        storage, run = self.context.backup_storage, self.context.run
        with ExitStack() as stack:
            bases = None
            if self.recorded == SHARED:
                with suppress(BucketNotFound):
                    bases = stack.enter_context(Bases(storage, run, str(self.context.storage.location)))
            yield Present(bases)

    def expect(self, info: CollectionInfo) -> Estimate:
        """By listing the files of some segments; the others are taken for alike, by their rows."""
        if not self._has_data:
            return Estimate(objects=0, size=0, rows=0)
        segments = self._chosen(info)
        step = -(-len(segments) // SAMPLED) or 1
        # Most of an incremental backup is not copied: listing it twice would be half of all requests.
        one = sorted(segments, key=lambda segment: segment.rows)[-1:]
        some = one if self.recorded == SHARED else segments[::step]
        flow, rows = self._flow(info, some, Present(None)), _rows(segments)
        share = rows / _rows(some) if len(some) < len(segments) and _rows(some) else 1.0
        return Estimate(objects=round(flow.objects * share), size=round(flow.size * share), rows=rows)

    def _chosen(self, info: CollectionInfo) -> list[SegmentInfo]:
        chosen = {part.id for part in info.partitions} | {ALL_PARTITIONS}
        return [segment for segment in self._segments(info) if segment.partition_id in chosen]

    def _flow(self, info: CollectionInfo, segments: list[SegmentInfo], known: Present) -> Flow:
        """Of what is not ``known``."""
        run, place = self.context.run, BackupLayout("", "estimate")
        details = SegmentDetails(self.context.milvus, run)

        storage, fields = self.context.storage, stored_fields(info)
        pair = Pair(
            source=storage,
            destination=self.context.backup_storage,
            run=run,
            limits=self.context.limits.transfer,
        )

        def items(group: Group) -> list[CopyItem]:
            return [
                item
                for part, logs in listed(storage, run, storage.location.root, group)
                for segment in part.segments
                for item in known.left(place, _files(storage, place, info.id, segment, logs[segment.id], run))
            ]

        with Pool(run.budget.segments, run.cancelled, name="mbk-segment") as pool:
            groups = grouped(info.id, details.complete(info, segments), storage, logs=len(fields))
            found = chain.from_iterable(pool.map(items, groups))
            return copying(((item.source_key, item.size) for item in found), pair, "storage", "backups")

    def begun(self, infos: Sequence[CollectionInfo], before: Collection[str]) -> tuple[str, ...]:
        """A copy leaves nothing in Milvus, and drops nothing that an earlier run of another format left."""
        return tuple(sorted(before))

    @contextmanager
    def work(self, work: BackupWork) -> Iterator[CollectionWorker]:
        context = self.context
        with ExitStack() as stack:
            transfer = stack.enter_context(
                Transfer(
                    source=context.storage,
                    destination=context.backup_storage,
                    run=context.run,
                    limits=context.limits.transfer,
                    records=True,
                    full=self.options.checksum == "full",
                )
            )
            if self._has_data:
                transfer.prepare()
            budget = within(context.run.budget, context.storage, context.backup_storage)
            segment_pool = stack.enter_context(
                Pool(budget.segments, context.run.cancelled, name="mbk-segment")
            )
            pause_gc = stack.enter_context(self._gc_pause())
            work.points.begin(work.infos, work.pool, listing=True)
            reuse = self._reuse(work, transfer, stack) if self.recorded == SHARED else None
            yield CollectionWorker(
                context=context,
                place=work.place,
                transfer=transfer,
                segment_pool=segment_pool,
                spool=work.spool,
                points=work.points,
                details=SegmentDetails(context.milvus, context.run),
                pause_gc=pause_gc,
                selection=self.selection,
                task=work.id,
                left=tuple(sorted(work.before)),
                resume=work.resume,
                below=work.place.prefix if reuse is None else work.place.root,
                reuse=reuse,
            )
            if reuse is not None:
                reuse.settle()
            transfer.tell_unproven()

    def _reuse(self, work: BackupWork, transfer: Transfer, stack: ExitStack) -> Reuse:
        context = self.context
        storage, run = context.backup_storage, context.run
        join(storage, work.fence, run, context.pace.lease)
        bases = stack.enter_context(
            Bases(storage, run, str(context.storage.location), name=work.name, keep=True)
        )
        looks = self.options.checksum == "full"
        return Reuse(bases, work.place, transfer, storage, run, looks=looks)

    def sweep(
        self,
        place: BackupLayout,
        done: Sequence[CollectionBackup],
        unfinished: Set[int],
        spool: SegmentSpool,
    ) -> None:
        storage, run = self.context.backup_storage, self.context.run
        if self.recorded == SHARED:
            sweep_pool(storage, place, done, unfinished, spool, run)
        else:
            sweep(storage, place, done, unfinished, run)

    def _segments(self, info: CollectionInfo) -> list[SegmentInfo]:
        return segments_now(self.context, info)

    def _gc_pause(
        self,
    ) -> AbstractContextManager[Callable[[int], AbstractContextManager[Lease | None]]]:
        limits = self.context.limits.backup
        enabled = limits.pause_gc if self.options.pause_gc is None else self.options.pause_gc
        if not enabled or not self._has_data:
            return nullcontext(lambda _collection: nullcontext())
        return pausing(self.context.milvus, self.context.run, seconds=limits.gc_seconds)


def is_shared(context: ClusterContext, options: CreateOptions, before: str | None) -> bool:
    """Whether the objects of the backup go into the pool. One that was begun keeps its layout: `UsageError` if another is chosen."""
    if before is None:
        return context.limits.backup.incremental if options.incremental is None else options.incremental
    began = before == SHARED
    if options.incremental is not None and options.incremental is not began:
        raise UsageError(
            "the backup was begun {how} and cannot be completed {otherwise}",
            code="layout-changed",
            how="as an incremental one" if began else "as one that shares no objects",
            otherwise="with --no-incremental" if began else "with --incremental",
            hint="leave that option out",
        )
    return began


def _files(
    storage: Storage, place: BackupLayout, collection: int, segment: SegmentInfo, stored: Logs, run: Run
) -> SegmentFiles | None:
    try:
        return discover(storage, place, collection, segment, stored, run)
    except (SegmentGone, SegmentUnclear):
        return None


def _rows(segments: Iterable[SegmentInfo]) -> int:
    return sum(segment.rows for segment in segments if not segment.is_l0)
