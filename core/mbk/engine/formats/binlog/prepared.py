"""A restore from binlogs whose data was checked: every refusal that can be known has been raised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from mbk.engine.formats.base import Estimate, RestoreWork
from mbk.engine.formats.binlog.checks import DataChecks, Places, segments_of
from mbk.engine.formats.binlog.contents import Reading
from mbk.engine.formats.binlog.conversion import Conversion
from mbk.engine.formats.binlog.expected import losses
from mbk.engine.formats.binlog.import_plan import GroupLimits, stages
from mbk.engine.formats.binlog.inventory import Inventory, opened
from mbk.engine.formats.binlog.late import LateConverter, require_converter
from mbk.engine.formats.binlog.places import SegmentPlaces, scan
from mbk.engine.formats.binlog.rest import rest_imports
from mbk.engine.formats.binlog.restore import CollectionRestorer
from mbk.engine.formats.binlog.slots import Slots
from mbk.engine.formats.differences import joined, refuse, tell_extra
from mbk.engine.repository.timeline import ConsistencyPoint
from mbk.engine.restore.checks import definition_problems, require_elements, require_fitting
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer import listing
from mbk.engine.transfer.load import copying
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.transfer import Transfer
from mbk.frozen import frozen
from mbk.model.events import WorkExpected
from mbk.model.flows import Flow
from mbk.model.selection import CollectionName
from mbk.ports.milvus.values import Feature


@frozen(kw_only=True)
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
            notes=tuple(losses(task, found)),
            flow=self._staged(task, found),
        )

    def _staged(self, task: RestoreTask, found: SegmentPlaces) -> Flow | None:
        """What is copied before Milvus imports it; None where Milvus reads all of it in the backup."""
        groups = [group for stage in stages(task.record, found, self._group_limits()) for group in stage]
        places = [place for group in groups if group.staged for place in group.places]
        if not places:
            return None
        context = self.context
        pair = Pair(
            source=context.backup_storage,
            destination=context.storage,
            run=context.run,
            limits=context.limits.transfer,
        )
        some = listing.objects(pair.source, context.run, places[0].insert or places[0].delta)
        return replace(
            copying(((entry.key, entry.size) for entry in some), pair, "backups", "storage"),
            objects=sum(place.objects for place in places),
            size=sum(place.size for place in places),
        )

    def _tell_expected(self) -> None:
        """What is staged and how many jobs Milvus is given, of all collections before the first byte."""
        for task in self.asked.tasks:
            found = self.places.get(task.target, SegmentPlaces())
            groups = [group for stage in stages(task.record, found, self._group_limits()) for group in stage]
            staged = [place for group in groups if group.staged for place in group.places]
            self.context.run.emit(
                WorkExpected(
                    collection=str(task.target),
                    objects=sum(place.objects for place in staged),
                    size=sum(place.size for place in staged),
                    jobs=len(groups),
                )
            )

    @contextmanager
    def work(self) -> Iterator[CollectionRestorer]:
        context, asked = self.context, self.asked
        self._tell_expected()
        with (
            _opened(context, asked) as inventory,
            Pool(context.run.budget.readers, context.run.cancelled, name="mbk-verify") as pool,
            Transfer(
                source=context.backup_storage,
                destination=context.storage,
                run=context.run,
                limits=context.limits.transfer,
            ) as transfer,
        ):
            yield CollectionRestorer(
                context=context,
                transfer=transfer,
                options=asked.options,
                limits=self._group_limits(),
                slots=Slots(context.limits.restore.import_jobs),
                name=asked.name,
                restore_id=asked.id,
                rows=asked.rows,
                places=self.places,
                points=self.points,
                reading=Reading(
                    storage=context.backup_storage,
                    run=context.run,
                    inventory=inventory,
                    pool=pool,
                    depth=asked.options.verify,
                ),
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
    `MissingDependency` if a conversion needs something that is not installed, `UsageError` for what cannot be truncated;
    and what keeps workers from copying."""
    places = _scan(context, asked)
    checks = DataChecks(
        milvus=context.milvus,
        backup=asked.backup,
        tasks=asked.tasks,
        options=asked.options,
        places=places,
        protection=asked.protection,
        cuts=asked.cuts,
    )
    context.limits.transfer.require_workers()
    if not asked.options.skip_create:
        require_elements(asked.backup.name, asked.tasks)
    definitions = definition_problems(context.milvus, asked.tasks, asked.options)
    require_fitting(context.milvus, (*definitions, *checks.problems()))
    points = checks.points()
    conversion = checks.conversion(cut=bool(points))
    if checks.needs(checks.conversion(cut=False)):
        require_converter()
    elif checks.needs(conversion):
        require_converter(cut=True)
    if not asked.options.no_cut and not asked.options.meta_only:
        _tell_uncut(context, asked, points)
    return PreparedRestore(
        context=context,
        asked=asked,
        places=places,
        points=points,
        conversion=conversion,
        rest=rest_imports(context, asked.tasks, asked.options, places),
    )


def _tell_uncut(
    context: ClusterContext, asked: RestoreWork, points: Mapping[CollectionName, ConsistencyPoint]
) -> None:
    whole = sorted(str(task.source) for task in asked.tasks if task.target not in points)
    if whole:
        context.run.notice(
            "point-unknown",
            "{collections} of {count}: the backup has no exact consistency point, so rows and deletes that reached it later "
            "are restored, too: {names}",
            collections=len(whole),
            count=len(asked.tasks),
            names=", ".join(whole[:3]) + (" …" if len(whole) > 3 else ""),
        )


def _scan(context: ClusterContext, asked: RestoreWork) -> Places:
    """Where everything is. `DamagedBackup` if it is not what the backup says, unless what is whole is asked for."""
    if asked.options.meta_only:
        return {}
    storage, run = context.backup_storage, context.run
    with (
        _opened(context, asked) as inventory,
        Pool(run.budget.collections, run.cancelled, name="mbk-scan") as pool,
    ):

        def one(task: RestoreTask) -> tuple[CollectionName, SegmentPlaces]:
            number = task.record.collection_id
            known, prefixes = inventory.of(number), inventory.prefixes(number)
            return task.target, scan(storage, prefixes, task.record, run, known)

        found = dict(pool.map(one, asked.tasks))
        recorded = inventory.is_recorded
    _judge(context, asked, found, recorded=recorded)
    if not asked.options.salvage:
        return {target: replace(places, lost={}) for target, places in found.items()}
    return {target: places.without(places.lost) for target, places in found.items()}


def _judge(context: ClusterContext, asked: RestoreWork, found: Places, *, recorded: bool) -> None:
    run, name = context.run, asked.name
    # Several targets may have one source.
    sources = {task.source: found[task.target].differences for task in asked.tasks}
    differences = joined(sources.values())
    if asked.options.verify == "none":
        run.notice(
            "nothing-compared",
            "nothing of backup {backup!r} is compared with what was recorded of it: wrong rows would not be noticed",
            backup=name,
        )
    elif not asked.options.salvage:
        refuse(differences, backup=name, location=context.backup_storage.location)
    tell_extra(run, differences, backup=name)
    if not recorded and asked.tasks:
        run.notice(
            "backup-without-record",
            "backup {backup!r} has no record of its objects: only names, sizes and counts can be compared",
            backup=name,
        )


def _opened(context: ClusterContext, asked: RestoreWork) -> AbstractContextManager[Inventory]:
    return opened(asked.catalog, asked.committed, context.backup_storage.location)
