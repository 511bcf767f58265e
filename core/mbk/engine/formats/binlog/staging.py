"""Copies a backup's segments to where Milvus can read them, and deletes the copies afterwards.

Milvus imports from its own storage only. If the backup is elsewhere, or if several segments are to share a job, they are
copied below ``{milvus root}restore-temp-{backup}-{db}-{coll}/``. The name is the same on every run: a restore that was
killed finds its copies and its journal there, uses them, and deletes them at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from mbk.engine.formats.binlog.combining import SegmentLogs, arranged
from mbk.engine.formats.binlog.contents import Contents
from mbk.engine.formats.binlog.conversion import ConversionJob, Converter
from mbk.engine.formats.binlog.import_plan import ImportGroup
from mbk.engine.repository.catalog import clean, delete_below
from mbk.engine.restore.journal import restore_temp
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import DamagedBackup, MbkError, Unsupported, VerificationFailed
from mbk.model.events import WorkPlanned
from mbk.model.layout import DELTA_LOG, INSERT_LOG
from mbk.model.records import CollectionSchema
from mbk.model.selection import CollectionName
from mbk.ports.storage import ObjectInfo, Storage


class Staging:
    """The temporary copies of one collection's restore. One thread may use it at a time.

    ``contents``: what of the backup may be copied, and what it must be. ``combine``: small segments become one.

    Raises what the storages raise, `VerificationFailed` for incomplete copies, `Unsupported` if a conversion is needed
    and there is no converter.
    """

    def __init__(
        self,
        *,
        backup: Storage,
        storage: Storage,
        transfer: Transfer,
        run: Run,
        name: str,
        target: CollectionName,
        contents: Contents,
        converter: Converter | None = None,
        combine: bool = False,
    ) -> None:
        self._backup = backup
        self._combine = combine
        self._contents = contents
        self._storage = storage
        self._transfer = transfer
        self._run = run
        self._label = str(target)
        self._converter = converter
        #: Key of a staged group -> whether it has deltas.
        self._ready: dict[str, bool] = {}
        self.prefix = restore_temp(storage, name, target)

    def files(self, group: ImportGroup) -> tuple[tuple[str, ...], ...]:
        """The files of the group's import job: each is a tuple of directories, as Milvus names them."""
        mount = (self._storage if group.staged else self._backup).location.mount
        return tuple(tuple(mount + path for path in paths) for paths in self._files(group))

    def paths(self, group: ImportGroup) -> tuple[str, ...]:
        """The directories of a group that is a single file."""
        (paths,) = self.files(group)
        return paths

    def _files(self, group: ImportGroup) -> Iterator[tuple[str, ...]]:
        if group.l0:
            for segment, place in zip(group.segments, group.places, strict=True):
                yield (f"{self._delta(group)}{segment.segment_id}/" if group.staged else place.delta,)
        elif group.staged:
            insert, delta = self._insert(group), self._delta(group)
            yield (insert, delta) if self._ready.get(group.key, group.has_deletes) else (insert,)
        else:
            for unit in group.units:
                parents = dict.fromkeys(parent for _, place in unit for parent in place.delta_parents)
                yield (unit[0][1].parent, *parents)

    def stage(self, group: ImportGroup, *, schema: CollectionSchema | None = None, end_ts: int = 0) -> None:
        """Copies or converts the group's objects and verifies them; copies of an earlier run are reused.

        ``end_ts``: hybrid timestamp; a conversion excludes deletes after it. 0: no limit.
        """
        if group.key in self._ready:
            return
        required = (
            self._convert(group, schema or CollectionSchema(), end_ts)
            if group.conversion
            else self._copy(group)
        )
        leftovers = sorted(self._present(group).keys() - required)
        if leftovers:
            # Of an earlier run with another conversion: Milvus would import them, too.
            self._run.retry.call(f"delete {leftovers[0]}", self._storage.delete, leftovers)
        self._ready[group.key] = any(key.startswith(self._delta(group)) for key in required)

    def _copy(self, group: ImportGroup) -> set[str]:
        items = list(self._items(group))
        self._run.emit(
            WorkPlanned(collection=self._label, objects=len(items), size=sum(item.size for item in items))
        )
        copies = self._transfer.arrive(
            items,
            collection=self._label,
            present=self._present(group),
            listed=lambda: self._present(group),
        )
        self._contents.require_copies(copies)
        return {item.key for item in items}

    def _convert(self, group: ImportGroup, schema: CollectionSchema, end_ts: int) -> set[str]:
        if self._converter is None:
            raise Unsupported(
                "{collection}: segments {segments} must be converted before this Milvus can import them",
                code="conversion-unavailable",
                collection=self._label,
                segments=group,
            )
        job = ConversionJob(
            conversion=group.conversion,
            schema=schema,
            segments=group.segments,
            places=group.places,
            folded=group.folded,
            insert=self._insert(group),
            delta=self._delta(group),
            contents=self._contents,
            end_ts=end_ts,
            label=self._label,
        )
        written = set(self._converter.convert(job))
        if missing := sorted(written - self._present(group).keys()):
            raise VerificationFailed(
                "{key} is missing in {location} after it was written",
                code="written-object-missing",
                key=missing[0],
                location=self._storage.location,
                hint="check whether something deletes objects there",
            )
        return written

    def clean(self) -> None:
        """Deletes the copies and the journal, even if the restore was cancelled."""
        self._clean(self.prefix)

    def clean_copies(self) -> None:
        """Deletes the copies but keeps the journal."""
        self._clean(f"{self.prefix}{INSERT_LOG}/", f"{self.prefix}{DELTA_LOG}/")

    def _clean(self, *prefixes: str) -> None:
        after = self._run.afterwards()
        try:
            for prefix in prefixes:
                delete_below(self._storage, prefix, after)
                clean(self._storage, after, prefix)
        except MbkError as error:
            self._run.notice(
                "temp-left",
                "cannot delete the temporary copies in {prefix}: {reason}",
                prefix=self.prefix,
                reason=error,
            )

    def _insert(self, group: ImportGroup) -> str:
        return f"{self.prefix}{INSERT_LOG}/{group.key}/"

    def _delta(self, group: ImportGroup) -> str:
        return f"{self.prefix}{DELTA_LOG}/{group.key}/"

    def _items(self, group: ImportGroup) -> Iterator[CopyItem]:
        found = [
            (number, place, self._contents.entries(place.insert), self._contents.deletes(place))
            for number, place in group.located
        ]
        logs = [
            SegmentLogs(
                segment=number,
                logs=tuple(entry.key.removeprefix(place.insert) for entry in inserts),
                size=place.size,
                deletes=bool(deletes),
            )
            for number, place, inserts, deletes in found
        ]
        targets = arranged(logs, combine=self._combine)
        for (number, place, inserts, deletes), target in zip(found, targets, strict=True):
            entries = [*inserts, *deletes]
            if (len(entries), sum(entry.size for entry in entries)) != (place.objects, place.size):
                raise DamagedBackup(
                    "the objects of segment {segment} have changed since the backup was compared with its record",
                    code="segment-changed-meanwhile",
                    segment=number,
                    hint="see what writes to {location}, then run again",
                    location=self._backup.location,
                )
            for entry in inserts:
                key = f"{self._insert(group)}{target[entry.key.removeprefix(place.insert)]}"
                yield CopyItem.of(entry, key)
            for entry in deletes:
                log = entry.key.rpartition("/")[2]
                yield CopyItem.of(entry, f"{self._delta(group)}{number}/{log}")

    def _present(self, group: ImportGroup) -> dict[str, ObjectInfo]:
        return listing.by_key(self._storage, self._run, self._insert(group), self._delta(group))
