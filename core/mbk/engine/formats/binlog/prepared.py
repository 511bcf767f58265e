"""A restore from binlogs whose data was checked: every refusal that can be known has been raised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from mbk.engine.formats.base import Estimate, RestoreWork
from mbk.engine.formats.binlog.checks import DataChecks, Places, segments_of
from mbk.engine.formats.binlog.conversion import Conversion
from mbk.engine.formats.binlog.import_plan import GroupLimits
from mbk.engine.formats.binlog.late import LateConverter, require_converter
from mbk.engine.formats.binlog.places import SegmentPlaces, scan
from mbk.engine.formats.binlog.rest import rest_imports
from mbk.engine.formats.binlog.restore import CollectionRestorer
from mbk.engine.formats.binlog.slots import Slots
from mbk.engine.repository.timeline import ConsistencyPoint
from mbk.engine.restore.checks import definition_problems, require_fitting
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer.transfer import Transfer
from mbk.model.selection import CollectionName
from mbk.ports.milvus.values import Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRestore:
    """``places``: where the segments of each target are; ``points``: where each is truncated, empty if not."""

    context: ClusterContext
    asked: RestoreWork
    places: Places
    points: Mapping[CollectionName, ConsistencyPoint]
    conversion: Conversion
    rest: bool | None

    def estimate(self, target: CollectionName) -> Estimate:
        found = self.places.get(target, SegmentPlaces())
        task = next(task for task in self.asked.tasks if task.target == target)
        data, _ = segments_of(task, found)
        return Estimate(
            objects=sum(place.objects for place in found.places.values()),
            size=sum(place.size for place in found.places.values()),
            rows=sum({segment.segment_id: segment.num_of_rows for segment in data}.values()),
        )

    @contextmanager
    def work(self) -> Iterator[CollectionRestorer]:
        context, asked = self.context, self.asked
        with Transfer(
            source=context.backup_storage,
            destination=context.storage,
            run=context.run,
            limits=context.limits.transfer,
        ) as transfer:
            yield CollectionRestorer(
                context=context,
                transfer=transfer,
                options=asked.options,
                limits=self._group_limits(),
                slots=Slots(context.limits.restore.import_jobs),
                name=asked.name,
                backup_id=asked.backup.id,
                rows=asked.rows,
                places=self.places,
                points=self.points,
                converter=LateConverter(
                    backup=context.backup_storage,
                    storage=context.storage,
                    run=context.run,
                    transfer=transfer,
                ),
            )

    def _group_limits(self) -> GroupLimits:
        context, limits = self.context, self.context.limits.restore
        return GroupLimits(
            stage_all=not context.storage.location.readable_by_same_milvus(context.backup_storage.location),
            merge=True,
            max_segments=limits.max_segments,
            max_size=limits.max_group_size,
            rest=self.rest,
            many_l0=Feature.MULTI_L0_IMPORT in context.milvus.features,
            conversion=self.conversion,
        )


def prepare(context: ClusterContext, asked: RestoreWork) -> PreparedRestore:
    """Checks the data: `InvalidBackup` if it is incomplete, `Unsupported` with everything that this server cannot import,
    `MissingDependency` if a conversion needs something that is not installed, `UsageError` for what cannot be truncated."""
    places = _scan(context, asked)
    checks = DataChecks(
        milvus=context.milvus,
        backup=asked.backup,
        tasks=asked.tasks,
        options=asked.options,
        places=places,
    )
    definitions = definition_problems(context.milvus, asked.tasks, asked.options)
    require_fitting(context.milvus, (*definitions, *checks.problems()))
    if checks.needs_conversion():
        require_converter()
    return PreparedRestore(
        context=context,
        asked=asked,
        places=places,
        points=checks.points(),
        conversion=checks.conversion(),
        rest=rest_imports(context, asked.tasks, asked.options, places),
    )


def _scan(context: ClusterContext, asked: RestoreWork) -> Places:
    if asked.options.meta_only:
        return {}

    def one(task: RestoreTask) -> tuple[CollectionName, SegmentPlaces]:
        return task.target, scan(context.backup_storage, asked.place, task.record, context.run)

    with Pool(context.run.budget.collections, context.run.cancelled, name="mbk-scan") as pool:
        return dict(pool.map(one, asked.tasks))
