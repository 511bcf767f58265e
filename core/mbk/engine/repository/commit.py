"""How a backup begins and ends: its name is taken first, and ``full_meta.json``, written last, makes it a backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mbk.engine.repository import codec
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.codec import CollectionParts
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.run import Run
from mbk.errors import BackupExists, Busy, ObjectExists, Unsupported
from mbk.model import layout
from mbk.model.manifest import CREATE, Manifest
from mbk.model.records import BackupExtras
from mbk.ports.storage import Storage


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run of `create` finds under its name. ``partial``: a committed backup that lacks collections, which the run
    completes; ``incomplete``: one that was never committed, which it gives another try. ``manifest`` is what it says.
    """

    partial: bool
    incomplete: bool
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class BackupFiles:
    """The files of one backup that is being made."""

    storage: Storage
    catalog: Catalog
    run: Run
    name: str

    @property
    def place(self) -> layout.BackupLayout:
        return self.catalog.layout(self.name)

    def begun(self, *, resume: bool) -> Begun:
        """What is there to go on with; `BackupExists` for a name that is taken."""
        if self.catalog.find(self.name).is_committed:
            manifest = self.catalog.read_manifest(self.name)
            if resume and manifest.failed:
                return Begun(True, False, manifest)
            raise BackupExists(
                "backup {reason!r} exists in {location}",
                code="backup-exists",
                reason=self.name,
                location=self.storage.location,
                hint="choose another name or delete it",
            )
        if not self.catalog.is_taken(self.name):
            return Begun(False, False, Manifest())
        manifest = self.catalog.read_manifest(self.name)
        ours = manifest.command in ("", CREATE)
        if resume and ours:
            return Begun(False, True, manifest)
        by = "" if ours else f", begun by {manifest.command}"
        raise BackupExists(
            "backup {reason!r} exists in {location} and is incomplete{by}",
            code="backup-exists-incomplete",
            reason=self.name,
            location=self.storage.location,
            by=by,
            remedy=manifest.remedy(self.name),
            hint="{remedy}, or remove it: mbk delete -n {reason}",
        )

    def require_unchanged(self, before: Begun, *, resume: bool) -> None:
        """Once the lease is held: `Busy` where another run was here since the plan was made."""
        if self.begun(resume=resume) != before:
            raise Busy(
                "another run has just worked on backup {reason!r}",
                code="another-run-just-worked",
                reason=self.name,
                hint="run it again",
            )

    def take_name(self, manifest: Manifest, *, resume: bool) -> None:
        """The manifest is the first object of a backup: from then on the name is taken.

        Of two runs that take one name at once, the storage lets one win, where it can.
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
                    "backup {reason!r} was begun by another run just now",
                    code="backup-begun-another-run",
                    reason=self.name,
                    hint="choose another name",
                ) from exc
            except Unsupported:
                pass  # a profile promises what this very server does not keep
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
        """Writes the metadata, ``full_meta.json`` last. ``level_files``: also those of partitions and segments.

        ``failed_before``: where a partial backup is being completed, what failed in it, which counts as failed until the
        new tree is there.
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
