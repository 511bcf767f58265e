"""What the backups of a root name in the pool: the one truth about what may not be removed from it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from mbk.engine.repository import codec
from mbk.engine.repository.catalog import Catalog, Stored
from mbk.engine.repository.record import objects_in
from mbk.engine.repository.seal import lost
from mbk.errors import BackupNotFound, InvalidBackup, MbkError, ObjectNotFound
from mbk.model import layout
from mbk.model.manifest import DELETE, SHARED, Manifest
from mbk.model.records import BackupHead
from mbk.model.reports import is_valid_name

#: Digests of stretches, 80 MiB of them: twenty times as many as a million objects have.
MOST = 1_000_000


class Unknowable(InvalidBackup):
    """A backup may name objects that nobody can tell."""


class Named:
    """The keys, relative to the pool, that backups name. Several threads may call it.

    Only hashes are kept: 100 MiB for a million keys. If two keys have the same, an object stays that could go. What many backups
    name is looked at once: the digests of the stretches of their records are kept, too.
    ``records``: id and record of each backup that was read. ``unfinished``: ids of those that were never committed.
    """

    def __init__(self) -> None:
        self._hashes: set[int] = set()
        self._seen: set[bytes] = set()
        self._lock = threading.Lock()
        self.records: set[tuple[str, str]] = set()
        self.unfinished: set[str] = set()

    def __contains__(self, key: bytes) -> bool:
        return hash(key) in self._hashes

    def add(self, stretches: Iterable[bytes], *, where: str) -> None:
        """All objects of a record, as `Catalog.stretches` tells them."""
        for stretch, mark in self._unseen(stretches):
            hashes = [hash(key) for key, _ in objects_in(stretch, where=where)]
            with self._lock:
                self._hashes.update(hashes)
                self._note(mark)

    def fresh(self, stretches: Iterable[bytes], *, where: str) -> Iterator[tuple[bytes, int]]:
        """Keys and sizes of those of the objects that are not here yet; they are from now on."""
        for stretch, mark in self._unseen(stretches):
            for key, size in objects_in(stretch, where=where):
                if hash(key) not in self._hashes:
                    self._hashes.add(hash(key))
                    yield key, int(size)
            self._note(mark)

    def _unseen(self, stretches: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """With their digests, the stretches of which not all objects are here."""
        from xxhash import xxh3_128_digest

        for stretch in stretches:
            if (mark := xxh3_128_digest(stretch)) not in self._seen:
                yield stretch, mark

    def _note(self, mark: bytes) -> None:
        if len(self._seen) < MOST:
            self._seen.add(mark)

    @classmethod
    def by_all(cls, catalog: Catalog) -> Named:
        """By all backups but those that are being deleted. `Unknowable` if the record of one is lost or damaged.

        Of a backup that was not committed what its record names counts, too: it may have lost its ``full_meta.json``.
        """
        found = cls()
        failures: dict[str, MbkError] = {}
        catalog.each(lambda name: found._read(catalog, name), failures.__setitem__)
        for name, failure in sorted(failures.items()):
            if is_valid_name(name):
                raise Unknowable(
                    "what backup {backup!r} has in the pool cannot be told: {reason}",
                    code="pool-unknowable",
                    backup=name,
                    reason=failure.message,
                    hint="put the file back from a copy of the metadata, or delete that backup",
                ) from failure
        return found

    def _read(self, catalog: Catalog, name: str) -> None:
        stored = catalog.find(name)
        if not stored.is_backup:
            return
        try:
            self._add(catalog, stored)
        except (BackupNotFound, InvalidBackup, ObjectNotFound):
            # It may have been deleted amid the reading.
            if catalog.find(name).is_committed:
                raise

    def _add(self, catalog: Catalog, stored: Stored) -> None:
        manifest = _manifest(catalog, stored)
        if manifest is None:
            return
        if not stored.is_committed:
            self._add_unfinished(catalog, stored, manifest)
            return
        recorded = next(filter(layout.is_record, manifest.files), "")
        if recorded not in stored.files:
            raise lost(stored.layout.meta(recorded or "objects-*.jsonl.gz"))
        # While a run completes it there are two, and either may be the one that counts in a moment.
        for file in filter(layout.is_record, stored.files):
            self._add_record(catalog, stored.layout.meta(file), manifest, file)

    def _add_unfinished(self, catalog: Catalog, stored: Stored, manifest: Manifest) -> None:
        if manifest.command == DELETE:
            return
        self.unfinished.add(manifest.id)
        for file in filter(layout.is_record, stored.files):
            self._add_record(catalog, stored.layout.meta(file), manifest, file)

    def _add_record(self, catalog: Catalog, where: str, manifest: Manifest, file: str) -> None:
        self.add(catalog.stretches(where, manifest.files.get(file)), where=where)
        self.records.add((manifest.id, file))


def _manifest(catalog: Catalog, stored: Stored) -> Manifest | None:
    """The manifest of a shared backup; None for another one. `DamagedBackup` if it is lost, or does not tell."""
    name = stored.layout.name
    if layout.MANIFEST in stored.files:
        try:
            manifest = catalog.read_manifest(name)
        except InvalidBackup:
            if _format(catalog, stored) == SHARED:
                raise
            return None
        return manifest if manifest.format == SHARED else None
    if _format(catalog, stored) == SHARED:
        raise lost(stored.layout.meta(layout.MANIFEST))
    return None


def _format(catalog: Catalog, stored: Stored) -> str:
    """The format of a backup whose manifest does not tell; that of a shared one if nothing tells."""
    for file in (layout.BACKUP_META, layout.FULL_META):
        if file in stored.files:
            where = stored.layout.meta(file)
            try:
                return codec.decode(catalog.read_file(where), BackupHead, where=where).format
            except (InvalidBackup, ObjectNotFound):
                continue
    return SHARED if stored.is_by_mbk and stored.is_committed else ""
