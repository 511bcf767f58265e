"""The journal of one collection's restore: a killed restore resumes instead of importing rows twice."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec

from mbk.engine.repository import codec as metafiles
from mbk.engine.runtime.run import Run
from mbk.errors import InvalidBackup, ObjectNotFound
from mbk.model.layout import MANIFEST, RESTORE_TEMP
from mbk.model.manifest import JobNote, Journal, Loaded
from mbk.model.selection import CollectionName
from mbk.ports.storage import Storage


def restore_temp(storage: Storage, name: str, target: CollectionName) -> str:
    """Where the restore of backup ``name`` into ``target`` keeps its journal and its staged copies; ends with ``/``.

    The same for every run, so that a later run finds what a killed one left.
    """
    return f"{storage.location.root}{RESTORE_TEMP}{name}-{target.database}-{target.collection}/"


class JournalFile:
    """One small object beside the staged copies, rewritten at every step. Several threads may call it."""

    def __init__(self, storage: Storage, prefix: str, run: Run) -> None:
        self._storage = storage
        self._key = f"{prefix}{MANIFEST}"
        self._run = run
        self._lock = threading.Lock()
        self.journal = Journal()

    def load(self, *, backup_id: str, target: str) -> bool:
        """Reads what an earlier run left. False, with a fresh journal, if that is nothing or of another backup."""
        fresh = Journal(backup_id=backup_id, target=target)
        try:
            data = self._run.retry.call(f"read {self._key}", self._read)
            left = metafiles.decode(data, Journal, where=self._key)
        except (ObjectNotFound, InvalidBackup):
            left = fresh
        same = left.backup_id == backup_id and left.target == target and left is not fresh
        self.journal = left if same else fresh
        return same

    @property
    def has_rows_in_place(self) -> bool:
        """Whether rows were imported into a collection that this restore did not create and cannot drop."""
        return not self.journal.created and bool(self.journal.jobs)

    def begin(self, *, collection_id: int, created: bool, beside: str = "") -> None:
        """``beside``: the name under which the collection is made, if not its own."""
        with self._lock:
            self.journal.collection_id = collection_id
            self.journal.created = created
            self.journal.beside = beside
            self._save()

    def exchange(self, *, replaces: int, aside: str) -> None:
        """Records that the new collection is complete and takes the place of ``replaces``, which is called ``aside`` then;
        0: that this is taken back."""
        with self._lock:
            self.journal.replaces = replaces
            self.journal.aside = aside
            self._save()

    def note(self, key: str, job: str, *, segments: Iterable[int], done: bool = False, rows: int = 0) -> None:
        """Records import ``key`` of these segments; ``job`` is empty while the import is being started."""
        with self._lock:
            self.journal.jobs[key] = JobNote(job=job, done=done, rows=rows, segments=[*segments])
            self._save()

    def withdraw(self, key: str) -> None:
        """Removes an import that the server refused to start, or that failed and left nothing."""
        with self._lock:
            self.journal.jobs.pop(key, None)
            self._save()

    def release(self, loaded: Loaded | None) -> None:
        with self._lock:
            self.journal.released = loaded
            self._save()

    @property
    def rows(self) -> int:
        """Rows of the finished jobs."""
        return sum(note.rows for note in self.journal.jobs.values() if note.done)

    @property
    def segments(self) -> set[int]:
        """Segments of all finished and running jobs."""
        return {segment for note in self.journal.jobs.values() for segment in note.segments}

    @property
    def under_way(self) -> dict[str, JobNote]:
        return {key: note for key, note in self.journal.jobs.items() if note.job and not note.done}

    @property
    def is_unclear(self) -> bool:
        """Whether it is unknown which segments are imported: the start of a job was not recorded, or by an older mbk."""
        return any(not note.job or not note.segments for note in self.journal.jobs.values())

    def reset(self) -> None:
        """Starts over; what must be loaded again stays recorded."""
        with self._lock:
            self.journal.jobs.clear()
            self.journal.collection_id = 0
            self.journal.beside = self.journal.aside = ""
            self.journal.replaces = 0

    def put(self, journal: Journal) -> None:
        """Writes what another object kept of it."""
        with self._lock:
            self.journal = journal
            self._save()

    def forget(self) -> None:
        """Ends the restore: copies that are kept must not look like those of a killed one."""
        self._run.retry.call(f"delete {self._key}", self._storage.delete, [self._key])

    def _save(self) -> None:
        data = msgspec.json.encode(self.journal)
        self._run.retry.call(f"write {self._key}", self._storage.write, self._key, [data], size=len(data))

    def _read(self) -> bytes:
        with self._storage.read(self._key) as chunks:
            return b"".join(chunks)
