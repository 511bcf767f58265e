"""What a format of backups is to the operations: how collections become objects of a backup, and come back.

A format is found by its name in :mod:`mbk.engine.formats.known`; nothing above knows one by name. For one run it gives
a `BackupFormat` or a `RestoreFormat`, which several threads may use at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from mbk.engine.backup.flush import ConsistencyPoints
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.collections import CollectionBackup
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext, Context
from mbk.engine.runtime.pool import Pool
from mbk.model.layout import BackupLayout
from mbk.model.options import CreateOptions, RestoreOptions
from mbk.model.records import Backup
from mbk.model.reports import CheckResult, CollectionOutcome, TransferStats
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo
from mbk.ports.replicate import OpenReplication
from mbk.ports.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Objects, bytes and rows of one collection as they are now; None where only Milvus itself will know."""

    objects: int | None = None
    size: int | None = None
    rows: int | None = None


# -- making a backup ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupWork:
    """What a format needs to back up the collections of one run. ``pool`` works on collections; ``id`` and ``name`` are
    the backup's; ``before`` are the collections (``db.coll``) that an earlier run of this backup left something of in
    Milvus. ``resume``: objects that are there already are kept.
    """

    infos: Sequence[CollectionInfo]
    id: str
    name: str
    place: BackupLayout
    points: ConsistencyPoints
    spool: SegmentSpool
    pool: Pool
    before: Collection[str] = ()
    resume: bool = False


class BackupWorker(Protocol):
    """Backs up collections one by one; several threads use it at once."""

    def back_up(self, info: CollectionInfo) -> CollectionBackup: ...

    @property
    def stats(self) -> TransferStats:
        """How the objects went; to be asked for last."""

    @property
    def left(self) -> tuple[str, ...]:
        """The collections (``db.coll``) of which Milvus still holds something that was made for the backup."""


class BackupFormat(Protocol):
    """One format for one run of `create`."""

    @property
    def recorded(self) -> str:
        """What ``full_meta.json`` says."""

    @property
    def by_milvus(self) -> bool:
        """Whether Milvus itself writes the objects: then the manifest names the collections before the work begins, and
        what an export that did not end has left is swept out."""

    def accept(self, info: CollectionInfo) -> None:
        """Raises why this collection cannot be in the backup; the others can."""

    def refuse(self, infos: Sequence[CollectionInfo]) -> None:
        """Raises why none of these can be backed up; changes nothing."""

    def estimate(self, info: CollectionInfo) -> Estimate:
        """What there is to back up now; changes nothing."""

    def begun(self, infos: Sequence[CollectionInfo], before: Collection[str]) -> tuple[str, ...]:
        """The collections (``db.coll``) that the manifest must name before the work begins."""

    def work(self, work: BackupWork) -> AbstractContextManager[BackupWorker]:
        """Takes the consistency point and opens what the work needs; leaving gives it back, whatever happened."""

    def sweep(self, place: BackupLayout, done: Sequence[CollectionBackup], unfinished: Set[int]) -> None:
        """Removes objects of the backup that belong to none of these collections; those of unfinished ones stay."""


# -- restoring one -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreWork:
    """A backup and what is wanted of it. ``rows``: collection id -> the rows that were counted exactly."""

    name: str
    backup: Backup
    place: BackupLayout
    tasks: Sequence[RestoreTask]
    options: RestoreOptions
    rows: Mapping[str, int]


class RestoreWorker(Protocol):
    """Restores collections one by one; several threads use it at once."""

    def restore(self, task: RestoreTask, *, resumed: bool) -> CollectionOutcome:
        """``resumed``: the target exists and was begun by an earlier run of this restore."""

    def conclude(self, task: RestoreTask) -> None:
        """To be called when the whole restore is over: until then a journal tells a later run what is done."""

    @property
    def stats(self) -> TransferStats: ...


class RestoreFormat(Protocol):
    """One format for one run of `restore`, whose data has been looked at."""

    def estimate(self, target: CollectionName) -> Estimate:
        """What there is to restore into a target of the plan."""

    def work(self) -> AbstractContextManager[RestoreWorker]:
        """Opens what the work needs; leaving gives it back."""


# -- a format ----------------------------------------------------------------------------------------------------------


class Format(Protocol):
    """``name`` as ``--format`` takes it. ``recorded``: what ``full_meta.json`` may say for it. ``level_files``: whether
    its backups have the partition and segment files of the classic tool."""

    @property
    def name(self) -> str: ...

    @property
    def recorded(self) -> frozenset[str]: ...

    @property
    def level_files(self) -> bool: ...

    def backup(
        self, context: ClusterContext, options: CreateOptions, selection: Selection, *, before: str | None
    ) -> BackupFormat | None:
        """For a run of `create`; None where this format is not the one to take.

        ``before``: what is recorded of the backup that is being completed, whose format stays. Raises `UsageError` and
        `Unsupported` where this format was asked for and cannot be.
        """

    def restore(self, context: ClusterContext, work: RestoreWork) -> RestoreFormat:
        """For a run of `restore`: looks at the data, changes nothing, and raises everything that stands against it."""

    def checks(self, milvus: Milvus, storage: Storage, backup_storage: Storage) -> Iterator[CheckResult]:
        """What `check` asks for this format beside what it asks of both storages; leaves nothing behind."""

    def require_movable(self, name: str) -> None:
        """`InvalidBackup` where the objects of a backup only mean something where they are."""

    def compact(self, context: Context, catalog: Catalog, name: str) -> Compaction:
        """For a run of `l0compact`: reads the backup and raises what stands against it."""

    def standby(
        self, context: ClusterContext, catalog: Catalog, backup: Backup, clusters: Clusters
    ) -> StandbyRestore:
        """For a run of `restore secondary`: raises everything that stands against it."""


class Compaction(Protocol):
    """One run of `l0compact`. ``id`` is the new backup's."""

    @property
    def id(self) -> str: ...

    @property
    def milvus_version(self) -> str: ...

    def estimate(self) -> Mapping[str, Estimate]:
        """``db.coll`` -> what is copied or rewritten of it."""

    def run(self, output: str) -> tuple[Sequence[CollectionOutcome], TransferStats]:
        """Makes and commits backup ``output``, whose name is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """``source`` and ``target`` are the ids of two clusters; ``open`` opens the log of the second for messages of the
    first."""

    source: str
    target: str
    open: OpenReplication


class StandbyRestore(Protocol):
    """One run of `restore secondary`, whose backup and standby have been looked at."""

    @property
    def resumed(self) -> bool:
        """Whether this run resumes an earlier one."""

    def estimate(self) -> Mapping[CollectionName, Estimate]: ...

    def execute(self) -> tuple[Sequence[CollectionOutcome], TransferStats]: ...
