"""How a backup starts and ends: its name is taken first; ``full_meta.json``, written last, commits it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from msgspec import structs

from mbk.engine.repository import codec
from mbk.engine.repository.catalog import LEVEL_FILES, Catalog, Committed, backup_exists
from mbk.engine.repository.codec import CollectionParts
from mbk.engine.repository.keeping import Keeping, locked_ones_stay
from mbk.engine.repository.keyed import split
from mbk.engine.repository.record import encode_record
from mbk.engine.repository.seal import Hashing, digest_of, seal
from mbk.engine.repository.spool import SegmentSpool, Shelf
from mbk.engine.runtime.decoding import decoded
from mbk.engine.runtime.layer import reach
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import (
    BackupExists,
    BackupNotFound,
    InvalidBackup,
    ObjectExists,
    Unsupported,
)
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.manifest import CREATE, FileDigest, Manifest, Totals
from mbk.model.objects import ObjectRecord
from mbk.model.plans import total
from mbk.model.records import Backup, BackupExtras, Mark
from mbk.ports.storage import PLAIN, PRIVATE, Deferring, Location, Storage


@frozen
class Begun:
    """What a run of `create` finds under its name. ``partial``: a committed backup without some collections, which the run
    adds; ``incomplete``: one that was never committed, which it resumes. ``manifest`` is that backup's.
    """

    partial: bool
    incomplete: bool
    manifest: Manifest


def nothing_begun(name: str, location: Location) -> BackupNotFound:
    return BackupNotFound(
        "there is no backup {backup!r} to resume in {location}",
        code="backup-not-begun",
        backup=name,
        location=location,
        hint="see `mbk list`; without --resume a new backup is made",
    )


@frozen
class NewRecord:
    """The record of ``objects`` objects that a commit, with an id of its own, is about to write."""

    commit: str
    objects: int
    digest: FileDigest
    chunks: Callable[[], Iterator[bytes]]

    @property
    def name(self) -> str:
        return layout.record_file(self.commit)

    def mark(self, *, failed: dict[str, str]) -> Mark:
        return Mark(commit=self.commit, record=self.digest.sha256, objects=self.objects, failed=failed)


@contextmanager
def new_record(
    location: str, collections: list[int], spool: SegmentSpool, *, commit: str
) -> Iterator[NewRecord]:
    """Compressed once: that costs more than all the rest of its writing. ``location``: where the etags in it were told."""
    hashing = Hashing()
    with Shelf[str]() as shelf:
        for chunk in encode_record(location, collections, spool):
            hashing.add(chunk)
            shelf.add("", chunk)
        yield NewRecord(commit, sum(map(spool.count, collections)), hashing.digest, partial(shelf.read, ""))


@frozen
class BackupFiles:
    """The files of one backup in progress. ``pool_id``: the id of a shared backup, empty for others.

    What is committed is locked where ``storage`` says so (`mbk.engine.repository.keeping.keeping`)."""

    storage: Storage
    catalog: Catalog
    run: Run
    name: str
    pool_id: str = ""

    @property
    def place(self) -> layout.BackupLayout:
        return self.catalog.layout(self.name)

    @property
    def data(self) -> layout.BackupLayout:
        """Where its runs put objects."""
        place = self.place
        return layout.pooled(place.root, self.pool_id) if self.pool_id else place

    def begun(self, *, resume: bool) -> Begun:
        """What there is to resume; `BackupExists` if the name is taken, `BackupNotFound` if there is nothing to resume."""
        stored = self.catalog.find(self.name)
        if not stored.is_backup:
            if resume:
                raise nothing_begun(self.name, self.storage.location)
            self.catalog.require_free(self.name)
            return Begun(False, False, Manifest())
        if stored.is_committed:
            manifest = self.catalog.read_manifest(self.name)
            if resume and manifest.failed:
                return Begun(True, False, manifest)
            raise backup_exists(
                self.name, self.storage.location, hint="choose another name, or delete the backup"
            )
        manifest = self._manifest_of_incomplete()
        command = manifest.command or CREATE
        if resume and command == CREATE:
            return Begun(False, True, manifest)
        raise BackupExists(
            "an incomplete backup {backup!r}, started by {command}, already exists in {location}",
            code="backup-exists-incomplete",
            backup=self.name,
            command=command,
            location=self.storage.location,
            remedy=manifest.remedy(self.name),
            hint="{remedy}, or delete it: mbk delete -n {backup}",
        )

    def _manifest_of_incomplete(self) -> Manifest:
        try:
            return self.catalog.read_manifest(self.name)
        except InvalidBackup as damage:
            raise BackupExists(
                "an incomplete backup {backup!r} already exists in {location} and cannot be resumed: {reason}",
                code="backup-exists-damaged",
                backup=self.name,
                location=self.storage.location,
                reason=damage.message,
                hint="choose another name, or delete it: mbk delete -n {backup}",
            ) from damage

    def take_name(self, manifest: Manifest, *, resume: bool) -> None:
        """Writes the manifest, the first object of a backup: from then on the name is taken.

        If two runs take one name at the same time, a storage with conditional writes lets only one succeed.
        """
        self.catalog.clean(self.place.prefix)
        if resume:
            if self.pool_id:
                self.catalog.clean(self.data.prefix)
            self.catalog.write_manifest(self.name, manifest)
            return
        key = self.place.meta(layout.MANIFEST)
        data = seal(manifest)
        if self.storage.capabilities.conditional_write:
            try:
                self.storage.write_if_absent(key, [data], size=len(data))
                if self.catalog.has(key, digest_of([data])):
                    return
            except ObjectExists as exc:
                raise BackupExists(
                    "backup {backup!r} has just been started by another run",
                    code="backup-name-taken",
                    backup=self.name,
                    hint="choose another name",
                ) from exc
            except Unsupported:
                pass  # the profile promises what this server does not support
        self.catalog.write(key, lambda: [data])

    def take_lock(self) -> None:
        """Writes until when the storage keeps the backup, before anything that it keeps."""
        self._keeping.take()

    def lock_objects(self) -> None:
        """Locks what earlier runs, or Milvus itself, put into the backup."""
        if self._keeping.lock is None:
            return
        meta = self.place.meta_prefix
        prefixes = {self.place.prefix, self.data.data_prefix} if self.pool_id else {self.place.prefix}
        found = listing.objects(self.storage, self.run, *sorted(prefixes))
        keys = [item.key for item in found if not item.key.startswith(meta)]
        self._keeping.objects(keys)

    def lock_reused(self, collections: Iterable[int], spool: SegmentSpool) -> None:
        """Locks for as long what a shared backup has from earlier ones."""
        if self._keeping.lock is None:
            return
        pool, own = self.data.root, f"{self.pool_id}/"
        entries = (
            decoded(line, ObjectRecord)
            for number in collections
            for line in split(spool.read_objects(number))
        )
        keys = (f"{pool}{entry.key}" for entry in entries if not entry.key.startswith(own))
        self._keeping.objects(keys)

    @property
    def _keeping(self) -> Keeping:
        return Keeping(self.storage, self.run, self.place)

    def defer(self) -> None:
        """The objects of this backup, which was never committed, need be durable only when it is committed."""
        if (deferring := reach(self.storage, Deferring)) is not None:
            deferring.defer(self.data.data_prefix)

    def _settle_objects(self) -> None:
        if (deferring := reach(self.storage, Deferring)) is not None:
            deferring.settle(self.data.data_prefix)

    def commit(
        self,
        extras: BackupExtras,
        manifest: Manifest,
        parts: Sequence[CollectionParts],
        spool: SegmentSpool,
        *,
        level_files: bool = True,
        is_first: bool = False,
        before: Manifest | None = None,
    ) -> Manifest:
        """Writes the metadata, ``full_meta.json`` last. ``level_files``: including those of partitions and segments.
        ``is_first``: no other run has left anything under the name.

        ``before``: the manifest of a partial backup that is being completed; it stays true until the new tree is written.
        Each file is read back. The digests of all are in the manifest, so that is written before them. All objects
        are durable before any of it is written. Returns the manifest as it is in the end.
        """
        self._settle_objects()
        with self._record([item.collection_id for item, _ in parts], spool) as record:
            mark = record.mark(failed=manifest.failed)
            files = self._files(structs.replace(extras, mbk=mark), parts, spool, level_files=level_files)
            digests = {record.name: record.digest}
            digests |= {file: digest_of(chunks()) for file, chunks in files.items()}
            earlier = before.as_earlier() if before is not None else None
            manifest = structs.replace(
                manifest,
                commit=record.commit,
                files=digests,
                earlier=earlier,
                # Of what Milvus wrote itself nobody has the segments.
                totals=_totals(manifest, parts, spool, told=level_files or bool(self.pool_id)),
            )
            self.catalog.write_manifest(self.name, manifest, options=self._keeping.kept())
            # Among the users are the hashes of their passwords.
            options = self._keeping.kept(PLAIN if extras.rbac_meta is None else PRIVATE)
            for file, chunks in {record.name: record.chunks, **files}.items():
                self.run.check_cancelled()
                self.catalog.write(self.place.meta(file), chunks, digest=digests[file], options=options)
        if not is_first:
            self._remove_records(besides=record.name)
        self._settle(manifest)
        return manifest

    def _settle(self, manifest: Manifest) -> None:
        """Readers need no longer find out which of the two states is true."""
        if manifest.earlier is not None:
            settled = structs.replace(manifest, earlier=None)
            self.catalog.write_manifest(self.name, settled, options=self._keeping.kept())

    def add_record(self, committed: Committed, spool: SegmentSpool) -> None:
        """Gives a committed backup that has none a record of its objects, in the same order: it is whole at every moment.

        ``full_meta.json`` keeps every byte that its writer made, and gets the mark before its last brace.
        """
        before, where = committed.manifest, self.place.meta(layout.FULL_META)
        with self._record(
            [item.collection_id for item in committed.backup.collection_backups], spool
        ) as record:
            mark = record.mark(failed=before.failed)
            full = codec.with_mark(bytes(self.catalog.read_file(where)), mark, where=where)
            levels, last = self._levels_now(committed), digest_of([full])
            manifest = structs.replace(
                before,
                commit=record.commit,
                files={record.name: record.digest, **levels, layout.FULL_META: last},
                earlier=before.as_earlier(),
                totals=totals_of(committed.backup, record.objects),
            )
            self.catalog.write_manifest(self.name, manifest)
            self.catalog.write(self.place.meta(record.name), record.chunks, digest=record.digest)
        self.run.check_cancelled()
        self.catalog.write(where, lambda: [full], digest=last)
        self._remove_records(besides=record.name)
        self._settle(manifest)

    def _levels_now(self, committed: Committed) -> dict[str, FileDigest]:
        return {
            name: digest_of([self.catalog.read_file(self.place.meta(name))])
            for name in sorted(LEVEL_FILES)
            if name in committed.stored.files
        }

    @contextmanager
    def _record(self, collections: list[int], spool: SegmentSpool) -> Iterator[NewRecord]:
        where = f"{self.storage.location}/{self.name}"
        with new_record(where, collections, spool, commit=uuid.uuid4().hex) as record:
            yield record

    def _files(
        self,
        extras: BackupExtras,
        parts: Sequence[CollectionParts],
        spool: SegmentSpool,
        *,
        level_files: bool,
    ) -> dict[str, Callable[[], Iterator[bytes]]]:
        """The classic files by name, in the order in which they are written."""
        levels: dict[str, Callable[[], Iterator[bytes]]] = {
            layout.BACKUP_META: lambda: codec.encode_backup_head(extras)
        }
        if not self.pool_id:
            levels[layout.COLLECTION_META] = lambda: codec.encode_collections(parts)
        if level_files:
            levels[layout.PARTITION_META] = lambda: codec.encode_partitions(parts)
            levels[layout.SEGMENT_META] = lambda: codec.encode_segments(parts, spool)
        return {**levels, layout.FULL_META: lambda: codec.encode_full(extras, parts, spool)}

    def _remove_records(self, *, besides: str) -> None:
        """Removes the records of older commits, and those that killed runs left."""
        stale = [
            item.key
            for name, item in self.catalog.find(self.name).files.items()
            if layout.is_record(name) and name != besides
        ]
        if not stale:
            return
        with locked_ones_stay(self.storage):
            self.run.retry.call(f"delete {stale[0]}", self.storage.delete, stale)


def _totals(
    manifest: Manifest, parts: Sequence[CollectionParts], spool: SegmentSpool, *, told: bool
) -> Totals:
    """``told``: the segments are in the spool, with their rows."""
    ids = [collection.collection_id for collection, _ in parts]
    stored = {number: spool.rows(number) if told else None for number in ids}
    return Totals(
        collections=len(ids),
        objects=sum(map(spool.count, ids)),
        rows=total([manifest.rows.get(str(number), stored[number]) for number in ids]),
    )


def totals_of(backup: Backup, objects: int) -> Totals:
    segments = (
        segment
        for collection in backup.collection_backups
        for partition in collection.partition_backups
        for segment in partition.segment_backups
    )
    rows = sum(segment.num_of_rows for segment in segments if not segment.is_l0)
    return Totals(collections=len(backup.collection_backups), objects=objects, rows=rows)
