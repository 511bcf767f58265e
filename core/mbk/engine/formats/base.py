"""What a backup format is to the operations: how collections become objects of a backup, and are restored.

Formats are looked up by name in :mod:`mbk.engine.formats.known`; nothing above names one. For one run a format gives a
`BackupFormat` or a `RestoreFormat`, which several threads may call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Protocol

from mbk.engine.backup.flush import ConsistencyPoints
from mbk.engine.formats.verifying import Verifying
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.collections import CollectionBackup
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext, Context
from mbk.engine.runtime.fence import Fence
from mbk.engine.runtime.pool import Pool
from mbk.frozen import frozen
from mbk.model.flows import Flow
from mbk.model.layout import BackupLayout
from mbk.model.manifest import Protection
from mbk.model.options import CreateOptions, RestoreOptions
from mbk.model.records import Backup
from mbk.model.reports import CheckResult, CollectionOutcome, TransferStats
from mbk.model.selection import CollectionName, Selection
from mbk.model.states import CollectionState
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo
from mbk.ports.replicate import OpenReplication
from mbk.ports.storage import ObjectInfo, Storage


@frozen(kw_only=True)
class Estimate:
    """Current objects, bytes and rows of one collection; None where only Milvus itself will know. ``notes``: for people.

    ``flow``: what must be copied for it; None if nothing is copied, or nobody knows. ``present`` objects of ``present_size``
    bytes need not be, and are not among the others: earlier backups have them.
    """

    objects: int | None = None
    size: int | None = None
    rows: int | None = None
    notes: tuple[str, ...] = ()
    flow: Flow | None = None
    present: int = 0
    present_size: int = 0

    def planned(self, source: str, target: str) -> CollectionOutcome:
        """The line of a plan; a note says why its objects are unknown."""
        unknown = ("the objects are known once Milvus has exported them",) if self.objects is None else ()
        return CollectionOutcome(
            source,
            target,
            CollectionState.PLANNED,
            objects=self.objects,
            size=self.size,
            rows_expected=self.rows,
            notes=(*unknown, *self.notes),
        )


# -- making a backup ---------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class BackupWork:
    """What a format needs to back up the collections of one run. ``pool`` works on collections; ``id`` and ``name`` are
    the backup's; ``before``: collections (``db.coll``) of which an earlier run of this backup left something in Milvus.
    ``resume``: existing objects are kept. ``place``: where the objects go. ``fence``: of the lease of the run.
    """

    infos: Sequence[CollectionInfo]
    id: str
    name: str
    place: BackupLayout
    points: ConsistencyPoints
    spool: SegmentSpool
    pool: Pool
    fence: Fence
    before: Collection[str] = ()
    resume: bool = False


class BackupWorker(Protocol):
    """Backs up one collection per call; several threads may call it."""

    def back_up(self, info: CollectionInfo) -> CollectionBackup: ...

    @property
    def stats(self) -> TransferStats:
        """How the objects were copied; complete once all collections are done."""

    @property
    def left(self) -> tuple[str, ...]:
        """Collections (``db.coll``) for which Milvus still keeps something made for the backup."""


class BackupFormat(Protocol):
    """One format for one run of `create`."""

    @property
    def recorded(self) -> str:
        """The format name in ``full_meta.json``."""

    @property
    def by_milvus(self) -> bool:
        """Whether Milvus itself writes the objects: then the manifest names the collections before the work starts, and
        remains of unfinished exports are removed."""

    def accept(self, info: CollectionInfo) -> None:
        """Raises if this collection cannot be in the backup; the others can."""

    def refuse(self, infos: Sequence[CollectionInfo]) -> None:
        """Raises if none of these can be backed up; changes nothing."""

    def estimate(self, info: CollectionInfo) -> Estimate:
        """What there is to back up; changes nothing."""

    def expect(self, info: CollectionInfo) -> Estimate:
        """About what there is to back up, for a few requests whatever its size."""

    def begun(self, infos: Sequence[CollectionInfo], before: Collection[str]) -> tuple[str, ...]:
        """Collections (``db.coll``) that the manifest must name before the work starts."""

    def work(self, work: BackupWork) -> AbstractContextManager[BackupWorker]:
        """Takes the consistency point and opens what the work needs; leaving closes it in any case."""

    def sweep(
        self,
        place: BackupLayout,
        done: Sequence[CollectionBackup],
        unfinished: Set[int],
        spool: SegmentSpool,
    ) -> None:
        """Removes objects that belong to none of these collections; those of unfinished ones stay. ``spool``: what the backup is
        going to name."""


# -- restoring one -----------------------------------------------------------------------------------------------------


def restore_id(backup: Backup, cuts: Mapping[str, int]) -> str:
    """Names a restore of a backup with ``cuts`` as in `RestoreWork`, which are all at one moment."""
    return "@".join((backup.id, *map(str, {*cuts.values()})))


@frozen(kw_only=True)
class RestoreWork:
    """A backup and what to restore of it. ``rows``: collection id -> exact row count. ``catalog``: where it is read from.
    ``protection``: collection id -> how it was protected, if mbk made the backup. ``cuts``: collection id -> the hybrid
    timestamp after which nothing is restored of it, where that is not its consistency point."""

    name: str
    catalog: Catalog
    committed: Committed
    place: BackupLayout
    tasks: Sequence[RestoreTask]
    options: RestoreOptions
    rows: Mapping[str, int]
    protection: Mapping[str, Protection] = field(default_factory=dict)
    cuts: Mapping[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """That of its journals: what an earlier run cut elsewhere is none of this one's."""
        return restore_id(self.backup, self.cuts)

    @property
    def backup(self) -> Backup:
        return self.committed.backup


class RestoreWorker(Protocol):
    """Restores one collection per call; several threads may call it."""

    def restore(self, task: RestoreTask, *, resumed: bool) -> CollectionOutcome:
        """``resumed``: the target exists, and an earlier run of this restore started it."""

    def conclude(self, task: RestoreTask) -> None:
        """Call it when the whole restore is done: until then the journal tells a later run what is done."""

    @property
    def stats(self) -> TransferStats: ...


class RestoreFormat(Protocol):
    """One format for one run of `restore`, with its data scanned."""

    def estimate(self, target: CollectionName) -> Estimate:
        """What there is to restore into one target."""

    def work(self) -> AbstractContextManager[RestoreWorker]:
        """Opens what the work needs; leaving closes it."""


# -- a format ----------------------------------------------------------------------------------------------------------


class Format(Protocol):
    """``name``: the value of ``--format``. ``recorded``: its names in ``full_meta.json``. ``level_files``: whether its
    backups have the partition and segment files of the classic tool."""

    @property
    def name(self) -> str: ...

    @property
    def recorded(self) -> frozenset[str]: ...

    @property
    def level_files(self) -> bool: ...

    def backup(
        self, context: ClusterContext, options: CreateOptions, selection: Selection, *, before: str | None
    ) -> BackupFormat | None:
        """For a run of `create`; None if another format is to be used.

        ``before``: the recorded format of the backup to complete, which stays. Raises `UsageError` and `Unsupported` if
        this format was requested but is not possible.
        """

    def restore(self, context: ClusterContext, work: RestoreWork) -> RestoreFormat:
        """For a run of `restore`: scans the data, changes nothing, and raises every obstacle."""

    def checks(self, milvus: Milvus, storage: Storage, backup_storage: Storage) -> Iterator[CheckResult]:
        """The checks for this format besides those of both storages; leaves nothing behind."""

    def verifying(self) -> Verifying:
        """How its objects are verified."""

    def require_movable(self, name: str) -> None:
        """`InvalidBackup` if the objects of a backup only work in their original location."""

    def belongings(self, context: Context, catalog: Catalog, committed: Committed) -> Iterator[ObjectInfo]:
        """The objects of the data of a backup that is movable, as they are listed, with the checksums that were recorded of
        them. `DamagedBackup` before the first one if any is missing or changed; what does not belong to it is told.
        """

    def compact(self, context: Context, catalog: Catalog, name: str, *, full: bool) -> Compaction:
        """For a run of `l0compact`: reads the backup and raises every obstacle. ``full``: every copy is read back."""

    def standby(
        self, context: ClusterContext, catalog: Catalog, backup: Backup, clusters: Clusters
    ) -> StandbyRestore:
        """For a run of `restore secondary`: raises every obstacle."""


class Compaction(Protocol):
    """One run of `l0compact`. ``id``: that of the new backup."""

    @property
    def id(self) -> str: ...

    @property
    def milvus_version(self) -> str: ...

    def estimate(self) -> Mapping[str, Estimate]:
        """``db.coll`` -> what is copied or rewritten."""

    def run(self, output: str) -> tuple[Sequence[CollectionOutcome], TransferStats]:
        """Makes and commits backup ``output``, whose name this run has taken."""


@frozen(kw_only=True)
class Clusters:
    """``source`` and ``target``: the ids of two clusters; ``open`` opens the target's log for messages of the source."""

    source: str
    target: str
    open: OpenReplication


class StandbyRestore(Protocol):
    """One run of `restore secondary`, with backup and standby checked."""

    @property
    def resumed(self) -> bool:
        """Whether this run resumes an earlier one."""

    def estimate(self) -> Mapping[CollectionName, Estimate]: ...

    def execute(self) -> tuple[Sequence[CollectionOutcome], TransferStats]: ...
