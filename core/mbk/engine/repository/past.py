"""What a bucket with versions still has of a backup that was deleted or overwritten, and what brings it back.

Nothing is guessed: the manifest tells the metadata files by their digests, the record in them the objects. Only marks of deletion are
ever removed; where other bytes were written over an object, its old ones are written once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mbk.engine.repository import locks, seal
from mbk.engine.repository.record import Record
from mbk.engine.runtime.layer import reach
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.digests import Digest, cheapest
from mbk.engine.transfer.same import Vouch, vouched
from mbk.errors import BackupNotFound, InvalidBackup, Unsupported
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.model.locking import BackupLock
from mbk.model.manifest import COPY, DELETE, SHARED, FileDigest, Manifest
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import ObjectInfo, ObjectVersion, Recalling, Storage, Versioned

#: By key, those of each from the newest on.
Versions = Mapping[str, Sequence[ObjectVersion]]
#: The elements of a key, relative to what a record's keys are, that tell the collection in either layout.
_OF_COLLECTION = {False: 3, True: 4}


@frozen(kw_only=True)
class Return:
    """One object that comes back, of this ``size`` in bytes: by the removal of the ``marks`` above it, or, where other bytes are above
    it, by ``version`` being written again."""

    version: ObjectVersion
    size: int
    marks: tuple[ObjectVersion, ...]
    rewritten: bool


@frozen(kw_only=True)
class Found:
    """The newest complete backup that was at a place. ``versions``: of all its metadata; ``files``: those that belong together, in
    the order in which they are brought back. ``lock``: what it tells of its lock."""

    place: BackupLayout
    manifest: Manifest
    versions: Versions
    files: Sequence[ObjectVersion]
    record: Record
    lock: BackupLock | None

    @property
    def is_shared(self) -> bool:
        return self.manifest.format == SHARED

    @property
    def below(self) -> str:
        """What the keys in its record are relative to."""
        return layout.pool_prefix(self.place.root) if self.is_shared else self.place.prefix


@dataclass(slots=True, kw_only=True)
class Past:
    """``objects`` and ``files`` that come back. ``present``: those that are there as they were; ``lost``: keys of which no version is right.
    ``unproven``: objects that are right in size, and of which nobody tells more."""

    objects: list[Return] = field(default_factory=list)
    files: list[Return] = field(default_factory=list)
    present: int = 0
    present_size: int = 0
    lost: list[str] = field(default_factory=list)
    unproven: int = 0

    @property
    def returns(self) -> Iterator[Return]:
        yield from self.objects
        yield from self.files

    @property
    def size(self) -> int:
        """Of all that comes back, in bytes."""
        return sum(item.size for item in self.returns)


class Archaeologist:
    """Looks at the versions in a storage. Raises what the storage raises once the run's retries are used up, `Unsupported` where it
    tells or reads no versions."""

    def __init__(self, storage: Storage, run: Run) -> None:
        self._storage = storage
        self._run = run

    def past(self, found: Found) -> Past:
        """What comes back of a backup, and what it needs for that."""
        past = Past()
        for version in found.files:
            self._add(past, past.files, version, found.versions[version.key], version.size or 0)
        for collection in found.record.collections:
            self._objects(past, found, collection)
        return past

    def versions(self, *prefixes: str) -> Versions:
        versioned = reach(self._storage, Versioned)
        if versioned is None or reach(self._storage, Recalling) is None:
            raise unable(self._storage)

        def once() -> Versions:
            found = defaultdict[str, list[ObjectVersion]](list)
            for prefix in prefixes:
                for version in versioned.versions(prefix):
                    found[version.key].append(version)
            return found

        return self._run.retry.call(f"list the versions below {prefixes[0]}", once)

    def stream(self, version: ObjectVersion) -> Iterator[bytes]:
        recalling = reach(self._storage, Recalling)
        if recalling is None:
            raise unable(self._storage)
        for chunk in self._run.retry.stream(
            f"read a version of {version.key}",
            lambda offset: recalling.read_version(version, offset=offset),
        ):
            self._run.check_cancelled()
            yield chunk

    def read(self, version: ObjectVersion) -> bytes:
        return b"".join(self.stream(version))

    # -- the metadata ----------------------------------------------------------------------------------------------

    def found(self, place: BackupLayout) -> Found:
        """The newest complete backup that was at ``place``. Close its record.

        `BackupNotFound` if no version tells of any backup there, `InvalidBackup` if none tells of a complete one.
        """
        versions = self.versions(place.meta_prefix)
        reason = "no version of its manifest tells of one"
        for version in _real(versions.get(place.meta(layout.MANIFEST), ())):
            manifest = self._manifest(version, place.name)
            if manifest is None:
                continue
            chosen, lost = self._files(place, versions, manifest)
            if not lost:
                return self._together(place, versions, version, manifest, chosen)
            reason = f"no version of {', '.join(lost)} is the one that belongs to it"
        raise (_incomplete if any(map(_real, versions.values())) else _nothing)(self._storage, place, reason)

    def _together(
        self,
        place: BackupLayout,
        versions: Versions,
        version: ObjectVersion,
        manifest: Manifest,
        chosen: Mapping[str, ObjectVersion],
    ) -> Found:
        """What tells that the backup is locked comes back first, what commits it last."""
        locked = self._locked(versions.get(place.meta(layout.LOCKED), ()))
        others = [item for name, item in chosen.items() if name != layout.FULL_META]
        (record,) = [item for name, item in chosen.items() if layout.is_record(name)]
        return Found(
            place=place,
            manifest=manifest,
            versions=versions,
            files=[*locked, *others, version, chosen[layout.FULL_META]],
            lock=next(iter(locked.values()), None),
            record=Record.unpacked(self.stream(record), where=record.key),
        )

    def _locked(self, versions: Sequence[ObjectVersion]) -> Mapping[ObjectVersion, BackupLock]:
        """The newest version that tells until when, and what it tells; empty where none does."""
        for version in _real(versions):
            lock = locks.decoded(self.read(version), where=version.key)
            if lock.until is not None:
                return {version: lock}
        return {}

    def _manifest(self, version: ObjectVersion, name: str) -> Manifest | None:
        """None for one that is not of a complete backup of this name."""
        try:
            manifest = seal.unseal(self.read(version), where=version.key)
        except InvalidBackup:
            return None
        is_complete = layout.FULL_META in manifest.files and any(map(layout.is_record, manifest.files))
        is_of_it = manifest.command not in (DELETE, COPY) and manifest.name == name
        return manifest if is_complete and is_of_it else None

    def _files(
        self, place: BackupLayout, files: Versions, manifest: Manifest
    ) -> tuple[dict[str, ObjectVersion], list[str]]:
        """The versions of its files by name, and the names of those of which there is none."""
        chosen, lost = dict[str, ObjectVersion](), list[str]()
        for name, digest in manifest.files.items():
            right = next(
                (item for item in _real(files.get(place.meta(name), ())) if self._is_of(digest, item)), None
            )
            if right is None:
                lost.append(name)
            else:
                chosen[name] = right
        return chosen, lost

    def _is_of(self, digest: FileDigest, version: ObjectVersion) -> bool:
        return version.size in (None, digest.size) and seal.is_of(digest, self.stream(version))

    # -- the objects -----------------------------------------------------------------------------------------------

    def _objects(self, past: Past, found: Found, collection: int) -> None:
        record, depth = found.record, _OF_COLLECTION[found.is_shared]
        prefixes = {_prefix(entry.key, depth) for entry in record.each_of(collection)}
        there = self.versions(*sorted(f"{found.below}{prefix}" for prefix in prefixes)) if prefixes else {}
        here = record.is_here(self._storage.location, found.place.name)
        for entry in record.each_of(collection):
            self._run.check_cancelled()
            key = f"{found.below}{entry.key}"
            versions = there.get(key, ())
            right, proven = self._right(entry, _real(versions), here=here)
            if right is None:
                past.lost.append(key)
                continue
            past.unproven += not proven
            self._add(past, past.objects, right, versions, entry.size)

    def _right(
        self, entry: ObjectRecord, versions: Sequence[ObjectVersion], *, here: bool
    ) -> tuple[ObjectVersion | None, bool]:
        """The newest version that is what was recorded, and whether anybody vouches for more than its size. Those are read of which
        nobody does, unless there is no other."""
        kind, unproven = cheapest(entry.digests) if len(versions) > 1 else None, None
        for version in versions:
            vouch = vouched(entry, _as_listed(version, entry), here=here)
            if vouch is Vouch.UNKNOWN and kind is not None:
                vouch = Vouch.SAME if self._digest(version, kind) == entry.digests[kind] else Vouch.CHANGED
            if vouch is Vouch.SAME:
                return version, True
            if vouch is Vouch.UNKNOWN:
                unproven = unproven or version
        return unproven, False

    def _digest(self, version: ObjectVersion, kind: str) -> str:
        made = Digest(kind)
        for chunk in self.stream(version):
            made.update(chunk)
        return made.hex

    def _add(
        self,
        past: Past,
        returns: list[Return],
        right: ObjectVersion,
        versions: Sequence[ObjectVersion],
        size: int,
    ) -> None:
        if right.is_current:
            past.present, past.present_size = past.present + 1, past.present_size + size
            return
        marks = tuple(version for version in versions if version.is_mark)
        rewritten = _newest(versions) != right or not marks
        returns.append(
            Return(version=right, size=size, marks=() if rewritten else marks, rewritten=rewritten)
        )


def unable(storage: Storage) -> Unsupported:
    return Unsupported(
        "{storage} tells no old versions of objects, so nothing that was deleted can be brought back",
        code="undelete-unsupported",
        storage=storage.location,
        hint="if it keeps versions, bring them back with its own client",
    )


def _nothing(storage: Storage, place: BackupLayout, _: str) -> BackupNotFound:
    return BackupNotFound(
        "{storage} has no versions of a backup {backup!r}",
        code="undelete-nothing",
        storage=storage.location,
        backup=place.name,
        hint="see `mbk list`; nothing comes back from a bucket that keeps no versions, or once they are deleted",
    )


def _incomplete(storage: Storage, place: BackupLayout, reason: str) -> InvalidBackup:
    return InvalidBackup(
        "no complete backup {backup!r} can be brought back from {storage}: {reason}",
        code="undelete-incomplete",
        backup=place.name,
        storage=storage.location,
        reason=reason,
        hint="only a backup with a record of its objects comes back; verify --record makes one for a backup of another tool",
    )


def _real(versions: Iterable[ObjectVersion]) -> list[ObjectVersion]:
    return [version for version in versions if not version.is_mark]


def _newest(versions: Iterable[ObjectVersion]) -> ObjectVersion | None:
    return next((version for version in versions if not version.is_mark), None)


def _as_listed(version: ObjectVersion, entry: ObjectRecord) -> ObjectInfo:
    size = entry.size if version.size is None else version.size
    return ObjectInfo(version.key, size, etag=version.etag, checksums=version.checksums)


def _prefix(name: str, depth: int) -> str:
    """What the key of an object has in common with all of its collection, at most so many elements."""
    elements = name.split("/")[:-1]
    return "".join(f"{element}/" for element in elements[:depth])
