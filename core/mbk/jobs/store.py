"""The jobs file: one SQLite file, readable by its owner only, used by one server at a time."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mbk.errors import MbkError, StorageFull, UsageError
from mbk.jobs.failures import JobsFileUnusable
from mbk.model.jobs import CollectionProgress, Failure, Job, Progress, Standing, Step
from mbk.model.states import CollectionState, JobState

SCHEMA = 1
#: Events kept per job, for clients that reconnect.
EVENTS = 1000
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, name TEXT NOT NULL,
    state TEXT NOT NULL, created REAL NOT NULL, finished REAL NOT NULL DEFAULT 0, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
CREATE INDEX IF NOT EXISTS jobs_by_name ON jobs (name, number);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, moment REAL NOT NULL, kind TEXT NOT NULL,
    data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job, number);
CREATE TABLE IF NOT EXISTS schedules (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, digest TEXT NOT NULL, job TEXT NOT NULL, created REAL NOT NULL);
"""


class Store:
    """Several threads may call it. Every call is short; a job is written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._lock_file = _locked(path)
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.text_factory = _text
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._prepare()
            self._require_whole()
        except sqlite3.Error as exc:
            os.close(self._lock_file)
            raise JobsFileUnusable(
                "cannot open the jobs file {path}: {reason}",
                code="jobs-file-unusable",
                path=path,
                reason=exc,
                hint="move it away, or set server.jobs.file to another path",
            ) from exc
        except MbkError:
            os.close(self._lock_file)
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()
            os.close(self._lock_file)

    # -- jobs ----------------------------------------------------------------------------------------------------

    def add(self, job: Job, *, key: str = "", digest: str = "") -> Job:
        """Stores a new job, with its idempotency key if it has one; returns it with its number."""
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO jobs (id, kind, name, state, created, body) VALUES (?, ?, ?, ?, ?, ?)",
                (job.id, job.kind, job.name, job.state, job.created, _body(job)),
            )
            if key:
                self._db.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", (key, digest, job.id, job.created))
            return replace(job, number=cursor.lastrowid or 0)

    def save(self, job: Job) -> None:
        with self._transaction():
            self._db.execute(
                "UPDATE jobs SET state = ?, finished = ?, body = ? WHERE id = ?",
                (job.state, job.finished, _body(job), job.id),
            )

    def remove(self, id: str) -> None:
        """Forgets a job, if there is one of this id, with its events and its key."""
        with self._transaction():
            self._db.execute("DELETE FROM events WHERE job IN (SELECT number FROM jobs WHERE id = ?)", (id,))
            self._db.execute("DELETE FROM keys WHERE job = ?", (id,))
            self._db.execute("DELETE FROM jobs WHERE id = ?", (id,))

    def get(self, id: str) -> Job | None:
        return next(self._jobs("WHERE id = ?", (id,)), None)

    def by_key(self, key: str) -> tuple[str, str] | None:
        """The digest and the job id stored under an idempotency key."""
        rows = self._rows("SELECT digest, job FROM keys WHERE key = ?", (key,))
        return (rows[0][0], rows[0][1]) if rows else None

    def page(
        self,
        *,
        states: Sequence[str] = (),
        kinds: Sequence[str] = (),
        name: str = "",
        before: int = 0,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs with a number below ``before``, newest first."""
        terms: list[str] = []
        values: list[Any] = []
        for column, allowed in (("state", states), ("kind", kinds), ("name", [name] if name else [])):
            if allowed:
                terms.append(f"{column} IN ({', '.join('?' * len(allowed))})")
                values += allowed
        if before:
            terms.append("number < ?")
            values.append(before)
        where = f"WHERE {' AND '.join(terms)} " if terms else ""
        return list(self._jobs(f"{where}ORDER BY number DESC LIMIT ?", (*values, limit)))

    def waiting(self) -> list[Job]:
        """Damaged ones are failed, whatever they were."""
        return list(self._jobs("WHERE state = ? ORDER BY number", (JobState.QUEUED,)))

    def running(self) -> list[Job]:
        return list(self._jobs("WHERE state = ? ORDER BY number", (JobState.RUNNING,)))

    def counts(self) -> dict[tuple[str, str], int]:
        """The number of jobs by kind and state."""
        rows = self._rows("SELECT kind, state, COUNT(*) FROM jobs GROUP BY kind, state")
        return {(kind, state): count for kind, state, count in rows}

    def forget(self, *, before: float) -> int:
        """Removes the jobs that ended before this moment, with their events and keys; returns how many."""
        with self._transaction():
            old = "SELECT number FROM jobs WHERE finished > 0 AND finished < ?"
            self._db.execute(f"DELETE FROM events WHERE job IN ({old})", (before,))
            self._db.execute(
                "DELETE FROM keys WHERE job IN (SELECT id FROM jobs WHERE finished > 0 AND finished < ?)",
                (before,),
            )
            return self._db.execute(
                "DELETE FROM jobs WHERE finished > 0 AND finished < ?", (before,)
            ).rowcount

    # -- schedules -----------------------------------------------------------------------------------------------

    def standing(self, schedule: str) -> Standing | None:
        """What is known of a schedule. None if it was never seen, or its record is damaged: then it begins anew."""
        rows = self._rows("SELECT body FROM schedules WHERE name = ?", (schedule,))
        with suppress(ValueError, TypeError):
            return Standing(**json.loads(rows[0][0])) if rows else None
        return None

    def save_standing(self, schedule: str, standing: Standing) -> None:
        with self._transaction():
            self._db.execute(
                "INSERT INTO schedules VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                (schedule, json.dumps(asdict(standing))),
            )

    # -- events --------------------------------------------------------------------------------------------------

    def add_event(self, job: Job, kind: str, data: Mapping[str, Any]) -> None:
        """Stores an event of a job; only the newest `EVENTS` are kept."""
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO events (job, moment, kind, data) VALUES (?, ?, ?, ?)",
                (job.number, time.time(), kind, json.dumps(data)),
            )
            if (cursor.lastrowid or 0) % 100 == 0:
                self._db.execute(
                    "DELETE FROM events WHERE job = ? AND number <= (SELECT number FROM events WHERE job = ? "
                    "ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (job.number, job.number, EVENTS),
                )

    def events(self, job: Job, *, after: int = 0, limit: int = 200) -> list[tuple[int, str, str]]:
        """Number, kind and data (JSON) of a job's events after number ``after``."""
        return self._rows(
            "SELECT number, kind, data FROM events WHERE job = ? AND number > ? ORDER BY number LIMIT ?",
            (job.number, after, limit),
        )

    # -- inside --------------------------------------------------------------------------------------------------

    def _jobs(self, rest: str, values: Sequence[Any]) -> Iterator[Job]:
        columns = "number, body, id, kind, name, created, finished"
        for number, body, *known in self._rows(f"SELECT {columns} FROM jobs {rest}", values):
            try:
                yield _job(number, body)
            except (ValueError, TypeError, KeyError, AttributeError):
                yield _damaged(number, *known)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """`JobsFileUnusable` if the file cannot be read."""
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as exc:
                raise JobsFileUnusable(
                    "cannot read the jobs file {path}: {reason}",
                    code="jobs-file-unreadable",
                    path=self.path,
                    reason=exc,
                    hint="move it away, or set server.jobs.file to another path",
                ) from exc

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """`StorageFull` on a full disk, `JobsFileUnusable` if the file cannot be written otherwise."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as exc:
                self._roll_back()
                raise self._not_written(exc) from exc
            except BaseException:
                self._roll_back()
                raise

    def _not_written(self, exc: sqlite3.Error) -> MbkError:
        if exc.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return StorageFull(
                "cannot write the jobs file {path}: the disk is full",
                code="jobs-file-full",
                path=self.path,
                hint="make room, or set server.jobs.file to another path",
            )
        return JobsFileUnusable(
            "cannot write the jobs file {path}: {reason}",
            code="jobs-file-write-failed",
            path=self.path,
            reason=exc,
            hint="check the disk, or set server.jobs.file to another path",
        )

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise UsageError(
                "the jobs file {path} was written by a newer mbk",
                code="jobs-file-too-new",
                path=self.path,
                hint="upgrade mbk, or set server.jobs.file to another path",
            )
        self._db.executescript(_TABLES)
        self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _require_whole(self) -> None:
        """A page of garbage is told at the start, not by the request that comes upon it."""
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(str(found).split()))


def _locked(path: Path) -> int:
    """Locks the file for this process and returns the lock: a second server would mistake running jobs for interrupted ones."""
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as exc:
        raise UsageError(
            "cannot create the jobs file {path}: {reason}",
            code="jobs-file-unwritable",
            path=path,
            reason=exc.strerror,
            hint="set server.jobs.file to a writable path",
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        raise UsageError(
            "the jobs file {path} is in use by another server",
            code="jobs-file-in-use",
            path=path,
            hint="set server.jobs.file to another path",
        ) from exc
    return lock


def _body(job: Job) -> str:
    plain = asdict(replace(job, secret={}))
    del plain["secret"], plain["number"]
    return json.dumps(plain)


def _progress(plain: Mapping[str, Any]) -> Progress:
    return Progress(**{**plain, "steps": tuple(Step(**step) for step in plain.get("steps", ()))})


def _collection(plain: Mapping[str, Any]) -> CollectionProgress:
    read = {"state": CollectionState(plain["state"]), "notes": tuple(plain["notes"])}
    return CollectionProgress(**{**plain, **read})


def _text(raw: bytes) -> str:
    """One damaged text does not hide the rows beside it."""
    return raw.decode(errors="replace")


def _damaged(number: int, id: str, kind: str, name: str, created: float, finished: float) -> Job:
    """What is known of a job whose record cannot be read."""
    return Job(
        id=id,
        number=number,
        kind=kind,
        name=name,
        params={},
        state=JobState.FAILED,
        created=created,
        finished=finished or created,
        error=Failure(
            kind=JobsFileUnusable.__name__,
            code="job-damaged",
            message="the record of this job in the jobs file is damaged",
            hint="whether the backup is complete: mbk get -n NAME",
        ),
    )


def _job(number: int, body: str) -> Job:
    plain = json.loads(body)
    return Job(
        **{
            **plain,
            "number": number,
            "state": JobState(plain["state"]),
            "progress": _progress(plain["progress"]),
            "collections": tuple(_collection(item) for item in plain["collections"]),
            "notices": tuple(plain["notices"]),
            "error": Failure(**plain["error"]) if plain["error"] else None,
        }
    )
