"""The backups in a storage: listing and deleting them, reading and writing their metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from typing import TypeVar

from mbk.engine.repository import codec as metafiles
from mbk.engine.repository import locks, pins, verified
from mbk.engine.repository import seal as seals
from mbk.engine.repository.record import Record as ObjectsRecord
from mbk.engine.repository.record import damaged, stretches
from mbk.engine.runtime.layer import reach
from mbk.engine.runtime.messages import unknown_format
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.retry import twice
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.same import digest
from mbk.errors import (
    AccessError,
    AuthenticationFailed,
    BackupExists,
    BackupNotFound,
    DamagedBackup,
    Interrupted,
    InvalidBackup,
    LeaseLost,
    MbkError,
    ObjectNotFound,
    StorageError,
    Unreachable,
    UsageError,
    VerificationFailed,
)
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.model.locking import BackupLock
from mbk.model.manifest import SHARED, FileDigest, Manifest, Verified
from mbk.model.records import Backup, BackupHead
from mbk.model.reports import BackupSummary, Pin, Verification, is_valid_name
from mbk.model.states import BackupState
from mbk.ports.storage import (
    MIB,
    PLAIN,
    Browsable,
    Deleter,
    Level,
    Location,
    ObjectInfo,
    Storage,
    Unfinished,
    WriteOptions,
)

T = TypeVar("T")


LEVEL_FILES = frozenset(
    {layout.BACKUP_META, layout.COLLECTION_META, layout.PARTITION_META, layout.SEGMENT_META}
)
_KNOWN_FILES = LEVEL_FILES | {layout.FULL_META}
#: Other names are refused, as the classic tool does.
KNOWN_FORMATS = frozenset({"", "binlog", "snapshot", SHARED})
#: Metadata files up to this size are buffered, so that their size is known and one request writes them.
SMALL = 8 * MIB
#: Times that a metadata file is written if reading it back returns other bytes: one loss may be an accident.
WRITES = 3
#: Backups that one task of a listing looks into.
NAMES = 64
#: Backups that are looked into before it is decided whether the storage lets a reader wait: other programs may delay one.
STRETCH = 8
#: Seconds. A look into a directory of this machine takes a tenth of it, one over a network more.
WAITING = 0.001
#: The code of `unfindable`.
UNFINDABLE = "shared-record-damaged"
#: The files that a summary is made of.
SUMMARIZED = frozenset({layout.MANIFEST, layout.BACKUP_META, layout.VERIFIED, layout.PINNED, layout.LOCKED})
#: What concerns the whole storage, if it happens to every backup.
OUTAGES = (Unreachable, AuthenticationFailed)
_NOTHING: Mapping[str, FileDigest] = {}


@frozen
class Stored:
    """What exists under a name: the metadata files by name.

    ``is_backup``: it has metadata of mbk or of the classic tool, if only the manifest of this very name. Anything else is
    somebody else's, whatever lies there. ``at_hand``: files that were read with the listing; others may be there, too.
    """

    layout: BackupLayout
    files: Mapping[str, ObjectInfo]
    is_backup: bool
    at_hand: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def is_committed(self) -> bool:
        """Old tools wrote only the level files; a backup by mbk with only these was killed during the commit."""
        return layout.FULL_META in self.files or (self.files.keys() >= LEVEL_FILES and not self.is_by_mbk)

    @property
    def is_by_mbk(self) -> bool:
        return layout.MANIFEST in self.files or any(map(layout.is_record, self.files))


@frozen
class Committed:
    """A committed backup whose metadata files are those that were written."""

    stored: Stored
    backup: Backup
    manifest: Manifest

    @property
    def is_shared(self) -> bool:
        """Whether its objects lie in the pool."""
        return self.backup.format == SHARED

    @property
    def below(self) -> str:
        """What the keys in its record are relative to."""
        place = self.stored.layout
        return layout.pool_prefix(place.root) if self.is_shared else place.prefix

    def classic_name(self, key: str) -> str:
        """What the key of an object of its data is relative to the prefix of a classic backup."""
        name = key.removeprefix(self.below)
        return name.partition("/")[2] if self.is_shared else name


def unfindable(name: str, damage: DamagedBackup) -> DamagedBackup:
    """Of a shared backup whose record is damaged or lost."""
    return DamagedBackup(
        "backup {backup!r} cannot be read, as only its record tells which objects of the pool are its own: {reason}",
        code="shared-record-damaged",
        backup=name,
        key=damage.facts.get("key", ""),
        reason=damage.message,
        hint="put the file back from a copy of the metadata, or delete the backup; no other backup is concerned, but nothing is "
        "removed from the pool until then",
    )


def _is_of_record(damage: DamagedBackup) -> bool:
    return layout.is_record(str(damage.facts.get("key", "")).rpartition("/")[2])


def backup_exists(name: str, location: Location, *, hint: str) -> BackupExists:
    return BackupExists(
        "backup {backup!r} already exists in {location}",
        code="backup-exists",
        backup=name,
        location=location,
        hint=hint,
    )


class Catalog:
    """All backups below the root of one storage. It has no state: several threads may call it.

    Its calls raise what the storage raises once the run's retries are used up.
    """

    def __init__(self, storage: Storage, run: Run) -> None:
        self._storage = retried(storage, run)
        self._run = run
        self._browsable = reach(self._storage, Browsable)

    def layout(self, name: str) -> BackupLayout:
        if not _is_possible(name):
            raise UsageError(
                "{name!r} is not a valid backup name",
                code="backup-name-impossible",
                name=name,
                hint="see `mbk list`",
            )
        return BackupLayout(self._storage.location.root, name)

    def find(self, name: str) -> Stored:
        """What exists of a backup, possibly nothing. One list request whatever its size, and a small file if only that is there."""
        return self._sure(self._listed(name))

    def _sure(self, stored: Stored) -> Stored:
        if stored.is_backup or layout.MANIFEST not in stored.files:
            return stored
        return replace(stored, is_backup=self._is_named(stored.layout))

    def _listed(self, name: str) -> Stored:
        """What exists of a backup; one whose manifest lies alone is not taken for one yet."""
        place = self.layout(name)
        return self._stored(place, self._level(place.meta_prefix).objects, {})

    def _glanced(self, name: str) -> Stored:
        """As `_listed`, with the files that a summary needs, where a look into a directory shows them."""
        if self._browsable is None:
            return self._listed(name)
        place = self.layout(name)
        return self._stored(place, *self._browsable.glance(place.meta_prefix, SUMMARIZED))

    def _stored(
        self, place: BackupLayout, objects: Sequence[ObjectInfo], at_hand: Mapping[str, bytes]
    ) -> Stored:
        start = len(place.meta_prefix)
        files = {item.key[start:]: item for item in objects}
        is_known = not _KNOWN_FILES.isdisjoint(files) or any(map(layout.is_record, files))
        return Stored(place, files, is_known, at_hand)

    def _is_named(self, place: BackupLayout) -> bool:
        """Whether a manifest that lies alone is of the backup of this name. One that cannot be read is taken for it."""
        where = place.meta(layout.MANIFEST)
        try:
            return seals.unseal(self.read_file(where), where=where).name == place.name
        except ObjectNotFound:
            return False
        except (InvalidBackup, AccessError, StorageError):
            return True

    def require(self, name: str) -> Stored:
        """What exists under the name, committed or not; `BackupNotFound` if that is not a backup."""
        stored = self.find(name)
        if stored.is_backup:
            return stored
        here = self._storage.location
        if self.is_taken(name):
            raise BackupNotFound(
                "{prefix} in {location} is not a backup: it has no metadata that mbk or the classic tool wrote",
                code="not-a-backup",
                prefix=stored.layout.prefix,
                location=here,
                hint="mbk does not touch it; see `mbk list` for the backups",
            )
        raise self._missing(name)

    def _missing(self, name: str) -> BackupNotFound:
        return BackupNotFound(
            "backup {backup!r} does not exist in {location}",
            code="backup-missing",
            backup=name,
            location=self._storage.location,
            near=self._near(name),
            hint="{near}see `mbk list`",
        )

    def _near(self, name: str) -> str:
        """``did you mean …? `` if a backup has a similar name."""
        from difflib import get_close_matches

        try:
            (near,) = get_close_matches(name, self.below_root(), n=1) or [""]
            return f"did you mean {near!r}? " if near and self.find(near).is_backup else ""
        except Interrupted:
            raise
        except MbkError:
            return ""  # only a suggestion

    def is_taken(self, name: str) -> bool:
        """Whether any object exists under the name.

        A directory without files is none, and neither is a common prefix of which a versioned bucket has only old versions.
        """
        return listing.any_below(self._storage, self._run, self.layout(name).prefix)

    def require_free(self, name: str, *, hint: str = "choose another name") -> None:
        """`BackupExists` if any object lies below the prefix that is not a backup's: it is never taken over."""
        if self.is_taken(name):
            raise BackupExists(
                "objects that are not a backup's lie in {location} below {prefix}",
                code="prefix-not-empty",
                location=self._storage.location,
                prefix=self.layout(name).prefix,
                hint=hint,
            )

    def read(self, name: str) -> Backup:
        """The metadata of a committed backup.

        Raises what `committed` raises.
        """
        return self.committed(name).backup

    def committed(self, name: str, *, salvage: bool = False) -> Committed:
        """A committed backup: its metadata, and the manifest that belongs to it.

        Raises `BackupNotFound`, `InvalidBackup` for one that was never committed or has an unknown format, `DamagedBackup` if
        a metadata file is lost or differs from what was written. With ``salvage`` only ``full_meta.json`` must be whole: if
        another file is not, a notice says so, and the backup is like one without a manifest.
        """
        stored = self.require(name)
        if not stored.is_committed:
            raise InvalidBackup(
                "backup {backup!r} is incomplete",
                code="backup-incomplete",
                backup=name,
                hint=self.read_manifest(name).remedy(name),
            )
        prefix = stored.layout.meta_prefix
        if layout.FULL_META in stored.files:
            backup, manifest = self._whole(stored, salvage=salvage)
        else:
            backup = metafiles.decode_levels(lambda file: self.read_file(f"{prefix}{file}"), where=prefix)
            manifest = Manifest()
        if backup.format not in KNOWN_FORMATS:
            raise unknown_format(name, backup.format)
        return Committed(stored, backup, manifest)

    def _whole(self, stored: Stored, *, salvage: bool) -> tuple[Backup, Manifest]:
        where = stored.layout.meta(layout.FULL_META)
        try:
            return twice(lambda: self._together(stored, where))
        except DamagedBackup as damage:
            if not salvage or damage.facts.get("key") == where or damage.code == UNFINDABLE:
                raise
            return self._salvaged(stored, where, damage)

    def _salvaged(self, stored: Stored, where: str, damage: DamagedBackup) -> tuple[Backup, Manifest]:
        """The level files say nothing that ``full_meta.json`` does not: without one of them the record still counts."""
        try:
            found = twice(lambda: self._together(stored, where, levels=False))
        except DamagedBackup as worse:
            backup = metafiles.decode_full(self.read_file(where), where=where)
            if backup.format == SHARED:
                raise unfindable(stored.layout.name, worse) from worse
            self._run.notice(
                "salvaging",
                "the record of objects cannot be used, only names, sizes and counts are compared: {reason}",
                reason=worse.message,
            )
            return backup, Manifest()
        self._run.notice("salvaging-levels", "not needed for a restore: {reason}", reason=damage.message)
        return found

    def _together(self, stored: Stored, where: str, *, levels: bool = True) -> tuple[Backup, Manifest]:
        data, files = self.read_file(where), _NOTHING
        manifest = self._manifest(stored)
        seals.require_manifest(manifest, stored.files, below=stored.layout.meta_prefix)
        if manifest.commit:
            manifest, files = _belonging(manifest, seals.digest_of([data]), where=where)
        if not levels:
            files = {name: file for name, file in files.items() if layout.is_record(name)}
        backup = metafiles.decode_full(data, where=where)
        self._require_together(stored, backup, manifest, files)
        return backup, manifest

    def _require_together(
        self, stored: Stored, backup: Backup, manifest: Manifest, files: Mapping[str, FileDigest]
    ) -> None:
        """`DamagedBackup` unless all metadata files are there and are those of one commit."""
        prefix = stored.layout.meta_prefix
        if backup.mbk is not None and backup.mbk.commit != manifest.commit:
            missing = layout.MANIFEST not in stored.files
            raise (seals.lost if missing else seals.differs)(f"{prefix}{layout.MANIFEST}")
        try:
            for file in seals.suspects(files, stored.files, below=prefix):
                if not seals.is_of(files[file], self.stream(f"{prefix}{file}")):
                    raise seals.differs(f"{prefix}{file}")
        except DamagedBackup as damage:
            if backup.format == SHARED and _is_of_record(damage):
                raise unfindable(stored.layout.name, damage) from damage
            raise

    def open_record(self, committed: Committed) -> ObjectsRecord | None:
        """The record of objects; None if the backup has none. Close it. `DamagedBackup` if it is lost or damaged.

        A shared backup has one: nothing else tells where its objects lie.
        """
        place, manifest = committed.stored.layout, committed.manifest
        if committed.is_shared:
            return self.record_of(place.name, manifest)
        file = next(filter(layout.is_record, manifest.files), None)
        if file is None:
            return None
        return twice(lambda: self._opened(place.meta(file), manifest.files[file], shared=False))

    def record_of(self, name: str, manifest: Manifest) -> ObjectsRecord:
        """As `open_record`, of a shared backup with this manifest."""
        try:
            where, recorded = self._record_file(name, manifest)
            return twice(lambda: self._opened(where, recorded, shared=True))
        except DamagedBackup as damage:
            raise unfindable(name, damage) from damage

    def stretches_of(self, name: str, manifest: Manifest) -> Iterator[bytes]:
        """As `stretches`, of the record of a shared backup with this manifest; `DamagedBackup`, too, if it is lost."""
        where, recorded = self._record_file(name, manifest)
        try:
            yield from self.stretches(where, recorded)
        except ObjectNotFound as missing:
            raise seals.lost(where) from missing

    def _record_file(self, name: str, manifest: Manifest) -> tuple[str, FileDigest]:
        place = self.layout(name)
        file = next(filter(layout.is_record, manifest.files), None)
        if file is None:
            raise seals.lost(place.meta("objects-*.jsonl.gz"))
        return place.meta(file), manifest.files[file]

    def stretches(self, where: str, recorded: FileDigest | None) -> Iterator[bytes]:
        """The lines of a record as :func:`mbk.engine.repository.record.stretches` cuts them, as they are read.

        `DamagedBackup` at the end if they are not those that were written; ``recorded`` None: nobody knows.
        """
        hashing = seals.Hashing()
        yield from stretches(hashing.passing(self.stream(where)), where=where)
        if recorded is not None and hashing.digest != recorded:
            raise seals.differs(where)

    def told(self, name: str) -> tuple[Stored, Manifest]:
        """What exists under a name, and its manifest, for a few small requests: none of its other files is read.

        `DamagedBackup` if the listing shows that one of them is missing, or is not what was written.
        """
        stored = self.find(name)
        manifest = self.read_manifest(name) if stored.is_backup else Manifest()
        if stored.is_committed:
            self._require_told(stored, manifest.files)
        return stored, manifest

    def _opened(self, where: str, recorded: FileDigest, *, shared: bool) -> ObjectsRecord:
        hashing = seals.Hashing()
        try:
            record = ObjectsRecord.unpacked(hashing.passing(self.stream(where)), where=where)
        except ObjectNotFound as missing:
            raise seals.lost(where) from missing
        if hashing.digest != recorded:
            record.close()
            raise seals.differs(where)
        if strange := _strange(record, shared=shared):
            record.close()
            raise damaged(where, f"the backup is {'shared' if shared else 'classic'}, and it names {strange}")
        return record

    def read_manifest(self, name: str) -> Manifest:
        """The manifest; an empty one if the backup was made by another tool. `DamagedBackup` if it is not what was written.

        Of a backup that a run is completing: what is true as long as the older ``full_meta.json`` is there.
        """
        where = self.layout(name).meta(layout.MANIFEST)
        try:
            return twice(lambda: self._true(name, seals.unseal(self.read_file(where), where=where)))
        except ObjectNotFound:
            return Manifest()

    def _true(self, name: str, manifest: Manifest) -> Manifest:
        """The manifest as long as the older ``full_meta.json`` is there, or as it is."""
        if manifest.earlier is None:
            return manifest
        full = self.layout(name).meta(layout.FULL_META)
        try:
            return _belonging(manifest, self._digest(full), where=full)[0]
        except ObjectNotFound:
            return manifest

    def _manifest(self, stored: Stored) -> Manifest:
        if layout.MANIFEST not in stored.files:
            return Manifest()
        where = stored.layout.meta(layout.MANIFEST)
        return seals.unseal(self._content(stored, layout.MANIFEST), where=where)

    def _content(self, stored: Stored, file: str) -> bytes | bytearray:
        data = stored.at_hand.get(file)
        return self.read_file(stored.layout.meta(file)) if data is None else data

    def summaries(self) -> Iterator[BackupSummary]:
        """All backups by name, including incomplete and unreadable ones. Reads two small files of each."""

        def unreadable(name: str, error: MbkError) -> BackupSummary | None:
            # A directory that may not be listed is not known to be a backup, so it must at least be called like one.
            summary = BackupSummary(name, BackupState.UNREADABLE, reason=error.message)
            return summary if is_valid_name(name) else None

        yield from filter(None, self.each(self.summary, unreadable))

    def names(self) -> list[str]:
        """The names that `summaries` tells, from listings alone: no file is read.

        So a manifest that lies alone counts as a backup, whichever name it tells. Raises what the storage raises.
        """

        def known(name: str) -> str:
            stored = self._listed(name)
            return name if stored.is_backup or layout.MANIFEST in stored.files else ""

        def unreadable(name: str, _: MbkError) -> str:
            return name if is_valid_name(name) else ""

        return [*filter(None, self.each(known, unreadable))]

    def below_root(self) -> list[str]:
        """Names of what may be backups; a directory without any object is looked into later, as all others are."""
        root = self._storage.location.root
        if self._browsable is None:
            prefixes: Sequence[str] = self._level(root).prefixes
        else:
            prefixes = self._browsable.directories(root)
        return sorted(filter(_is_possible, {prefix.removeprefix(root)[:-1] for prefix in prefixes}))

    def each(self, look: Callable[[str], T], failed: Callable[[str, MbkError], T]) -> list[T]:
        """What ``look`` returns for each name below the root, in their order, or ``failed`` if it raises. Several threads call them.

        Raises what concerns the whole storage if it happens to every name.
        """
        names, readers = self.below_root(), self._run.budget.readers
        outages: dict[str, MbkError] = {}

        def one(name: str) -> T:
            try:
                return look(name)
            except Interrupted:
                raise
            except MbkError as error:
                if isinstance(error, OUTAGES):
                    outages[name] = error
                return failed(name, error)

        def several(start: int) -> tuple[int, list[T]]:
            return start, [one(name) for name in names[start : start + length]]

        # A task costs more than a look into a directory: many names share one, as long as no reader is left without any.
        length = max(1, min(NAMES, len(names) // (4 * readers)))
        first = [*self._while_at_hand(one, names)] if length == NAMES else []
        with Pool(readers, self._run.cancelled, name="mbk-list") as pool:
            results = dict(pool.map(several, range(len(first), len(names), length)))
        if outages and len(outages) == len(names):
            raise outages[names[0]]  # not one entry, but the storage
        return first + [result for start in sorted(results) for result in results[start]]

    def _while_at_hand(self, look: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
        """What ``look`` returns for the first names: for all of them, unless the storage lets it wait.

        Where nobody waits for a storage, threads only wait for each other: eight took half a second more for 10,000 directories.
        """
        for start in range(0, len(names), STRETCH):
            self._run.check_cancelled()
            quickest = WAITING
            for name in names[start : start + STRETCH]:
                began = monotonic()
                yield look(name)
                quickest = min(quickest, monotonic() - began)
            if quickest >= WAITING:
                return

    def summary(self, name: str) -> BackupSummary | None:
        """None if there is no backup. Of one that seems to be damaged, what a second look shows: the first reading may have been
        wrong."""
        seen = self._seen(name)
        damaged = seen is not None and seen.state is BackupState.UNREADABLE
        return self._seen(name) if damaged else seen

    def _seen(self, name: str) -> BackupSummary | None:
        stored = self._sure(self._glanced(name))
        if not stored.is_backup:
            return None
        try:
            written = self._manifest(stored)
            seals.require_manifest(written, stored.files, below=stored.layout.meta_prefix)
            manifest = self._true(name, written)
        except (*OUTAGES, Interrupted):
            raise
        except MbkError as error:
            return BackupSummary(name, BackupState.UNREADABLE, reason=error.message, locked=self.lock(stored))
        created = begun(stored, manifest)
        if not stored.is_committed:
            return BackupSummary(
                name,
                BackupState.INCOMPLETE,
                created=created,
                reason=f"{manifest.remedy(name)}, or delete it",
                labels=manifest.labels,
                locked=self.lock(stored),
                written=_written(stored),
            )
        try:
            head = self._head(stored, manifest)
        except (*OUTAGES, Interrupted):
            raise
        except MbkError as error:
            return BackupSummary(
                name, BackupState.UNREADABLE, created=created, reason=error.message, locked=self.lock(stored)
            )
        return BackupSummary(
            name,
            BackupState.PARTIAL if manifest.failed else BackupState.COMPLETE,
            size=head.size,
            milvus_version=head.milvus_version,
            id=head.id,
            format=head.format,
            created=created,
            finished=_moment(manifest.finished),
            collection_count=manifest.totals.collections if manifest.totals else None,
            rows=manifest.totals.rows if manifest.totals else None,
            labels=manifest.labels,
            pin=self.pin(stored),
            added=manifest.added.size if manifest.added else None,
            locked=self.lock(stored),
            written=_written(stored),
            reason="; ".join(f"{collection}: {why}" for collection, why in manifest.failed.items()),
            verified=self._verified(stored, manifest.commit or head.id),
        )

    def pin(self, stored: Stored) -> Pin | None:
        """What keeps the backup, also one whose time is over. One that cannot be read keeps it."""
        if layout.PINNED not in stored.files:
            return None
        where = stored.layout.meta(layout.PINNED)
        try:
            return pins.decoded(self._content(stored, layout.PINNED), where=where)
        except ObjectNotFound:
            return None
        except (AccessError, StorageError):
            return Pin()

    def lock(self, stored: Stored) -> BackupLock | None:
        """Until when the storage keeps the backup, also a time that is over."""
        if layout.LOCKED not in stored.files:
            return None
        where = stored.layout.meta(layout.LOCKED)
        try:
            return locks.decoded(self._content(stored, layout.LOCKED), where=where)
        except ObjectNotFound:
            return None
        except (AccessError, StorageError):
            return locks.UNKNOWN

    def _verified(self, stored: Stored, subject: str) -> Verification | None:
        """What a listing shows is not lost because of this file."""
        if layout.VERIFIED not in stored.files:
            return None
        try:
            return verified.latest(
                _verifications(stored.layout, subject, self._content(stored, layout.VERIFIED))
            )
        except MbkError:
            return None

    def verified(self, name: str, subject: str) -> Verified:
        """The verifications of the backup as it is now, its ``subject``; empty if there are none, or they are unreadable."""
        place = self.layout(name)
        try:
            return _verifications(place, subject, self.read_file(place.meta(layout.VERIFIED)))
        except ObjectNotFound:
            return Verified(subject=subject)

    def _head(self, stored: Stored, manifest: Manifest) -> BackupHead:
        file = layout.BACKUP_META if layout.BACKUP_META in stored.files else layout.FULL_META
        where = stored.layout.meta(file)
        self._require_told(stored, manifest.files)
        data = self._content(stored, file)
        recorded = manifest.files.get(layout.BACKUP_META)
        if recorded is not None and seals.digest_of([data]) != recorded:
            raise seals.differs(where)
        return metafiles.decode(data, BackupHead, where=where)

    def _require_told(self, stored: Stored, files: Mapping[str, FileDigest]) -> None:
        """`DamagedBackup` if a metadata file differs by what the storage tells of it.

        A file is read only where the etags of others are digests and its own is another one; who needs a file reads it anyway.
        """
        prefix = stored.layout.meta_prefix
        suspects = [*seals.suspects(files, stored.files, below=prefix)]
        if len(suspects) == len(files):
            return
        for file in suspects:
            if not digest(stored.files[file].etag):
                continue
            if not seals.is_of(files[file], self.stream(f"{prefix}{file}")):
                raise seals.differs(f"{prefix}{file}")

    def meta_size(self, name: str) -> int:
        return sum(item.size for item in self.find(name).files.values())

    # -- writing -------------------------------------------------------------------------------------------------

    def write(
        self,
        key: str,
        chunks: Callable[[], Iterable[bytes]],
        *,
        digest: FileDigest | None = None,
        options: WriteOptions = PLAIN,
    ) -> FileDigest:
        """Writes one metadata file, streaming a large one, and reads it back. ``chunks`` is called again for every attempt.

        ``digest``: that of the chunks, where it is known. `VerificationFailed` if the storage acknowledges the write and
        then returns other bytes.
        """

        def once() -> FileDigest:
            if digest is not None:
                self._put(key, chunks(), options)
                return digest
            hashing = seals.Hashing()
            self._put(key, hashing.passing(chunks()), options)
            return hashing.digest

        for _ in range(WRITES):
            written = self._run.retry.call(f"write {key}", once)
            if self.has(key, written):
                return written
        raise VerificationFailed(
            "{key} was written to {location}, but reading it returns other bytes or nothing",
            code="write-not-stored",
            key=key,
            location=self._storage.location,
            hint="this storage loses or changes what is written: check it before you back up to it",
        )

    def _put(self, key: str, chunks: Iterable[bytes], options: WriteOptions) -> None:
        buffer, rest = bytearray(), iter(chunks)
        for chunk in rest:
            buffer += chunk
            if len(buffer) > SMALL:
                self._storage.write(key, _chain(bytes(buffer), rest), options=options)
                return
        self._storage.write(key, [bytes(buffer)], size=len(buffer), options=options)

    def has(self, key: str, written: FileDigest) -> bool:
        """Whether reading an object returns these bytes."""
        try:
            return seals.is_of(written, self.stream(key))
        except ObjectNotFound:
            return False

    def exists(self, key: str) -> bool:
        try:
            self._storage.stat(key)
        except ObjectNotFound:
            return False
        return True

    def write_manifest(self, name: str, manifest: Manifest, *, options: WriteOptions = PLAIN) -> None:
        self.write(self.layout(name).meta(layout.MANIFEST), lambda: [seals.seal(manifest)], options=options)

    def write_beside(self, name: str, file: str, data: bytes) -> None:
        """Writes a file that belongs to no commit, without a lease: taken back if the backup was deleted meanwhile.

        Raises `BackupNotFound` then, and what the storage raises.
        """
        key = self.layout(name).meta(file)
        self.write(key, lambda: [data])
        if not self.find(name).is_committed:
            self._run.retry.call(f"delete {key}", self._storage.delete, [key])
            raise self._missing(name)

    def clean(self, prefix: str) -> None:
        """Removes what killed processes left below a prefix."""
        clean(self._storage, self._run, prefix)

    # -- reading -------------------------------------------------------------------------------------------------

    def _level(self, prefix: str) -> Level:
        return listing.level(self._storage, self._run, prefix)

    def stream(self, key: str) -> Iterator[bytes]:
        """The bytes of an object in pieces; a read that breaks off is taken up again."""
        return self._run.retry.stream(f"read {key}", lambda offset: self._storage.read(key, offset=offset))

    def _digest(self, key: str) -> FileDigest:
        return seals.digest_of(self.stream(key))

    def read_file(self, key: str) -> bytearray:
        """One metadata file; `ObjectNotFound` if it is missing."""

        def once() -> bytearray:
            # Joining chunks would keep a large file in memory twice.
            data = bytearray()
            with self._storage.read(key) as chunks:
                for chunk in chunks:
                    data += chunk
            return data

        return self._run.retry.call(f"read {key}", once)


def _belonging(
    manifest: Manifest, full: FileDigest, *, where: str
) -> tuple[Manifest, Mapping[str, FileDigest]]:
    """The manifest that is true for a ``full_meta.json`` with this digest, and the other files that must be there.

    Until a run that completes a backup has written its own, the older one is there.
    """
    if manifest.files.get(layout.FULL_META) != full:
        if manifest.earlier is None or manifest.earlier.files.get(layout.FULL_META, full) != full:
            raise seals.differs(where)
        manifest = manifest.before()
    return manifest, {name: file for name, file in manifest.files.items() if name != layout.FULL_META}


def _strange(record: ObjectsRecord, *, shared: bool) -> str:
    """An object where those of the other layout lie, whose record it is then; empty if there is none."""
    first = next(record.objects(), None)
    if first is None or layout.is_own(first.key.partition("/")[2] if shared else first.key):
        return ""
    return first.key


def _verifications(place: BackupLayout, subject: str, data: bytes | bytearray) -> Verified:
    try:
        known = metafiles.decode(data, Verified, where=place.meta(layout.VERIFIED))
    except InvalidBackup:
        return Verified(subject=subject)
    return known if known.subject == subject else Verified(subject=subject)


def clean(storage: Storage, run: Run, prefix: str) -> int:
    """Drops the unfinished uploads below a prefix, and returns how many. It decides nothing: where that is not allowed, they stay."""
    return _uploads(run, prefix, lambda: run.retry.call(f"clean {prefix}", storage.clean, prefix))


def unfinished(storage: Storage, run: Run, prefix: str) -> int:
    """How many uploads `clean` would drop; 0 where the storage does not tell."""
    telling = reach(storage, Unfinished)
    return 0 if telling is None else _uploads(run, prefix, lambda: sum(1 for _ in telling.unfinished(prefix)))


def _uploads(run: Run, prefix: str, count: Callable[[], int]) -> int:
    try:
        return count()
    except (Interrupted, LeaseLost):
        raise
    except MbkError as error:
        run.notice(
            "not-cleaned",
            "unfinished uploads below {prefix} may be left, they cannot be looked for: {reason}",
            prefix=prefix,
            reason=error.message,
        )
        return 0


def _any(_: ObjectInfo) -> bool:
    return True


def delete_below(storage: Storage, prefix: str, run: Run, chosen: Callable[[ObjectInfo], bool] = _any) -> int:
    """Deletes every object below a prefix in batches, or those that are ``chosen``; refuses an empty prefix."""
    if not prefix.strip("/"):
        raise UsageError(
            "refusing to delete everything in the bucket",
            code="prefix-empty",
            hint="name a backup",
        )
    count = 0

    length = max(storage.capabilities.delete_batch, 100)

    def delete_all(entries: Iterator[ObjectInfo]) -> None:
        nonlocal count
        for size in pool.map(
            lambda keys: _delete(storage, keys, run), _batches(filter(chosen, entries), length)
        ):
            count += size

    with Pool(run.budget.readers, run.cancelled, name="mbk-delete") as pool:
        listing.consume(storage, run, delete_all, prefix)
    return count


def _batches(entries: Iterator[ObjectInfo], length: int) -> Iterator[list[str]]:
    while batch := [entry.key for entry in islice(entries, length)]:
        yield batch


def _delete(storage: Deleter, keys: list[str], run: Run) -> int:
    run.retry.call(f"delete {keys[0]} and {len(keys) - 1} more", storage.delete, keys)
    return len(keys)


def _chain(buffered: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield buffered
    yield from rest


def _is_possible(name: str) -> bool:
    """Whether a directory of this name can be a backup: not a path, not a name for another directory."""
    return name not in ("", ".", "..") and "/" not in name


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def begun(stored: Stored, manifest: Manifest) -> datetime | None:
    """When it was begun, or when its metadata was written, as another tool records no time. None: nobody knows."""
    return _moment(manifest.started) or _written(stored)


def _written(stored: Stored) -> datetime | None:
    """When the metadata was written, by the storage's clock."""
    file = layout.FULL_META if layout.FULL_META in stored.files else layout.BACKUP_META
    found = stored.files.get(file)
    return found.modified.astimezone(UTC) if found is not None and found.modified is not None else None
