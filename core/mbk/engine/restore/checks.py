"""What is looked at before a restore's first change: targets, earlier runs, and what the server cannot represent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mbk.engine.formats.binlog.conversion import Conversion
from mbk.engine.formats.binlog.import_plan import PACKED
from mbk.engine.formats.binlog.places import SegmentPlaces
from mbk.engine.formats.binlog.staging import Staging
from mbk.engine.repository.boundary import Boundary, boundary_of
from mbk.engine.restore.journal import JournalFile
from mbk.engine.restore.plan import RestorePlan, RestoreTask
from mbk.engine.restore.schema import target_schema
from mbk.engine.runtime.run import Run
from mbk.errors import CollectionExists, CollectionNotFound, Unsupported, UsageError
from mbk.model.options import RestoreOptions
from mbk.model.records import DEFAULT_DATABASE, Backup, SegmentHead
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature
from mbk.ports.storage import Storage

Places = Mapping[CollectionName, SegmentPlaces]

_LINE = re.compile(r"v?(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class RestoreChecks:
    """``storage`` is Milvus' own."""

    milvus: Milvus
    storage: Storage
    run: Run
    backup: Backup
    plan: RestorePlan
    options: RestoreOptions

    # -- what this Milvus is able to take --------------------------------------------------------------------------

    def require_fitting(self, places: Places) -> None:
        """`Unsupported` with everything at once that this server cannot represent."""
        problems = list(dict.fromkeys((*self._of_definitions(), *self._of_data(places))))
        if problems:
            hint = "restore into a newer Milvus, or choose with --filter what fits"
            if any(problem.startswith("databases") for problem in problems):
                hint = "rename the collections into default"
            raise Unsupported(f"Milvus {self.milvus.version} cannot take {'; '.join(problems)}", hint=hint)

    def _of_definitions(self) -> Iterator[str]:
        features = self.milvus.features
        named = sorted({task.target.database for task in self.plan.tasks} - {DEFAULT_DATABASE})
        if named and Feature.DATABASES not in features:
            yield f"databases ({', '.join(named)})"
        for task in self.plan.tasks:
            # Encryption at rest came with the packed segments, in 2.6.
            if task.ezk and Feature.PACKED_SEGMENTS not in features:
                yield f"{task.source}: its data is encrypted with a zone key"
            if self.options.skip_create:
                continue
            if problems := self.milvus.definitions.schema_problems(target_schema(task, self.options)):
                yield f"{task.source} ({', '.join(problems)})"

    def _of_data(self, places: Places) -> Iterator[str]:
        for task in self.plan.tasks:
            data, l0 = segments_of(task, places.get(task.target, SegmentPlaces()))
            versions = {segment.storage_version for segment in (*data, *l0)}
            if unknown := sorted(version for version in versions if version > PACKED):
                yield f"{task.source}: segments of storage version {unknown[0]}, which only snapshots carry"

    def conversion(self) -> Conversion:
        """What of the backup's segments must be changed wherever it is met.

        Imports leave out young deletes of L0 segments since milvus PR 43747 (August 2025), hence certainly where several
        of them share a job (2.6.5). Deltas of several columns are what 2.4 and later may write.
        """
        features = self.milvus.features
        wanted = Conversion.NONE
        if Feature.L0_SEGMENTS not in features:
            wanted |= Conversion.FOLD_L0
            if not self._made_before(2, 4):
                wanted |= Conversion.PLAIN_DELTAS
        elif self.options.truncate and Feature.MULTI_L0_IMPORT not in features:
            wanted |= Conversion.CUT_L0
        if Feature.DELETE_TIMES not in features:
            wanted |= Conversion.APPLY_DELETES
        if Feature.PACKED_SEGMENTS not in features:
            wanted |= Conversion.UNPACK
            if not self._made_before(2, 6):
                wanted |= Conversion.PLAIN_DELTAS
        return wanted

    def needs_conversion(self, places: Places) -> bool:
        """Whether a segment must be changed, or may have to: the form of deltas shows when they are read."""
        asked = self.conversion()
        of_deltas = Conversion.PLAIN_DELTAS | Conversion.APPLY_DELETES
        for task in self.plan.tasks:
            found = places.get(task.target, SegmentPlaces())
            data, l0 = segments_of(task, found)
            if l0 and asked & ~Conversion.UNPACK:
                return True
            if Conversion.UNPACK in asked and any(segment.storage_version == PACKED for segment in data):
                return True
            if asked & of_deltas and any(found.places[item.segment_id].delta for item in data):
                return True
        return False

    def _made_before(self, major: int, minor: int) -> bool:
        found = _LINE.match(self.backup.milvus_version)
        return found is not None and (int(found[1]), int(found[2])) < (major, minor)

    # -- the line --------------------------------------------------------------------------------------------------

    def boundaries(self, places: Places) -> dict[CollectionName, Boundary]:
        """Where each collection is cut; empty when nothing is. `UsageError` names all that cannot be cut exactly."""
        if not self.options.truncate or self.options.meta_only:
            return {}
        found = {task.target: boundary_of(task.record, self.backup) for task in self.plan.tasks}
        problems = [
            f"{task.source}: {reason}"
            for task in self.plan.tasks
            if (reason := _uncut(task, places.get(task.target, SegmentPlaces()), found[task.target]))
        ]
        if problems:
            raise UsageError(
                f"backup {self.backup.name!r} cannot be cut at its time: {'; '.join(problems)}",
                hint="leave --at-backup-time (truncateBinlogByTs) out",
            )
        return found

    # -- the targets -----------------------------------------------------------------------------------------------

    def targets(self, name: str) -> dict[CollectionName, bool]:
        """The targets that an earlier run of this restore began and did not end: True where it can be gone on with."""
        options = self.options
        databases = {
            item.db_name for item in self.run.retry.call("list databases", self.milvus.inventory.databases)
        }
        existing = {
            task.target
            for task in self.plan.tasks
            if task.target.database in databases
            and self.milvus.inventory.has_collection(task.target.database, task.target.collection)
        }
        missing = sorted({task.target for task in self.plan.tasks} - existing)
        if options.skip_create and missing:
            raise CollectionNotFound(
                f"target collection {missing[0]} does not exist", hint="leave --skip_create_collection out"
            )
        found = {target: self._was_begun(name, target) for target in sorted(existing)}
        begun = {target: resumable for target, resumable in found.items() if resumable is not None}
        if not options.skip_create and not options.drop_existing and existing - begun.keys():
            names = ", ".join(str(target) for target in sorted(existing - begun.keys()))
            raise CollectionExists(
                f"target collection exists: {names}",
                hint="restore beside it with -s SUFFIX, or replace it with --drop_exist_collection",
            )
        return begun

    def _was_begun(self, name: str, target: CollectionName) -> bool | None:
        """None: not by this restore. False: it is ours, but nobody can tell what is in it."""
        prefix = Staging.prefix_of(self.storage, name, target)
        journal = JournalFile(self.storage, prefix, self.run)
        if not journal.load(backup_id=self.backup.id, target=str(target)):
            return None
        found = journal.journal
        if journal.is_unclear and not found.created:
            raise UsageError(
                f"an earlier restore into {target} was killed while it started an import: rows may be there twice",
                hint=f"check the rows, remove {prefix} from {self.storage.location}, then run again",
            )
        info = self.milvus.inventory.describe(target.database, target.collection)
        if found.collection_id not in (0, info.id) or not (found.created or found.collection_id):
            return None
        return bool(found.collection_id) and not journal.is_unclear


def segments_of(task: RestoreTask, found: SegmentPlaces) -> tuple[list[SegmentHead], list[SegmentHead]]:
    """The segments that have objects: those with rows, and those with deletes alone."""
    listed: Iterable[SegmentHead] = (
        *(segment for partition in task.record.partition_backups for segment in partition.segment_backups),
        *task.record.l0_segments,
    )
    present = [segment for segment in listed if segment.segment_id in found.places]
    data = [segment for segment in present if found.places[segment.segment_id].insert]
    return data, [segment for segment in present if not found.places[segment.segment_id].insert]


def _uncut(task: RestoreTask, found: SegmentPlaces, boundary: Boundary) -> str:
    """Why a collection cannot be cut exactly, ``""`` where it can."""
    data, l0 = segments_of(task, found)
    if not (data or l0):
        return ""
    if not boundary.channels:
        return "the backup does not say when its channels were flushed"
    for segment in (*data, *l0):
        if boundary.of(segment.v_channel) is None:
            if segment.v_channel:
                return f"channel {segment.v_channel} of segment {segment.segment_id} has no flush time"
            return (
                f"its {len(boundary.channels)} channels were flushed at different times, and the backup does not say "
                f"which of them segment {segment.segment_id} belongs to"
            )
    return ""
