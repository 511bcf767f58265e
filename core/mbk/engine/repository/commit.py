"""How a backup starts and ends: its name is taken first; ``full_meta.json``, written last, commits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mbk.engine.repository import codec
from mbk.engine.repository.catalog import Catalog, backup_exists
from mbk.engine.repository.codec import CollectionParts
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.run import Run
from mbk.errors import BackupExists, ObjectExists, Unsupported
from mbk.model import layout
from mbk.model.manifest import CREATE, Manifest
from mbk.model.records import BackupExtras
from mbk.ports.storage import Storage


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run of `create` finds under its name. ``partial``: a committed backup without some collections, which the run
    adds; ``incomplete``: one that was never committed, which it resumes. ``manifest`` is that backup's.
    """

    partial: bool
    incomplete: bool
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class BackupFiles:
    """The files of one backup in progress."""

    storage: Storage
    catalog: Catalog
    run: Run
    name: str

    @property
    def place(self) -> layout.BackupLayout:
        return self.catalog.layout(self.name)

    def begun(self, *, resume: bool) -> Begun:
        """What there is to resume; `BackupExists` if the name is taken."""
        if self.catalog.find(self.name).is_committed:
            manifest = self.catalog.read_manifest(self.name)
            if resume and manifest.failed:
                return Begun(True, False, manifest)
            raise backup_exists(
                self.name, self.storage.location, hint="choose another name, or delete the backup"
            )
        if not self.catalog.is_taken(self.name):
            return Begun(False, False, Manifest())
        manifest = self.catalog.read_manifest(self.name)
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

    def take_name(self, manifest: Manifest, *, resume: bool) -> None:
        """Writes the manifest, the first object of a backup: from then on the name is taken.

        If two runs take one name at the same time, a storage with conditional writes lets only one succeed.
        """
        if resume:
            self.storage.clean(self.place.prefix)
            self.catalog.write_manifest(self.name, manifest)
            return
        key = self.place.meta(layout.MANIFEST)
        data = msgspec.json.encode(manifest)
        if self.storage.capabilities.conditional_write:
            try:
                self.storage.write_if_absent(key, [data], size=len(data))
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

    def commit(
        self,
        extras: BackupExtras,
        manifest: Manifest,
        parts: Sequence[CollectionParts],
        spool: SegmentSpool,
        *,
        level_files: bool = True,
        failed_before: Mapping[str, str] | None = None,
    ) -> None:
        """Writes the metadata, ``full_meta.json`` last. ``level_files``: including those of partitions and segments.

        ``failed_before``: the failed collections of a partial backup that is being completed; they count as failed until
        the new tree is written.
        """
        first = msgspec.structs.replace(manifest, failed={**(failed_before or {}), **manifest.failed})
        catalog, place = self.catalog, self.place
        catalog.write_manifest(self.name, first)
        catalog.write(place.meta(layout.BACKUP_META), lambda: codec.encode_backup_head(extras))
        catalog.write(place.meta(layout.COLLECTION_META), lambda: codec.encode_collections(parts))
        if level_files:
            catalog.write(place.meta(layout.PARTITION_META), lambda: codec.encode_partitions(parts))
            catalog.write(place.meta(layout.SEGMENT_META), lambda: codec.encode_segments(parts, spool))
        self.run.check_cancelled()
        catalog.write(place.meta(layout.FULL_META), lambda: codec.encode_full(extras, parts, spool))
        if first != manifest:
            catalog.write_manifest(self.name, manifest)
