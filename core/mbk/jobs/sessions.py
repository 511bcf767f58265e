"""Sessions for requests and jobs: the configured one, and others with another location of the backups."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mbk.config.schema import Settings, StorageChoice
from mbk.errors import UsageError
from mbk.session import Session

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_PATH = re.compile(r"[\w.@=+ -]+(?:/[\w.@=+ -]+)*/?")

Open = Callable[[Settings], Session]


class Sessions:
    """Opens a session for every job, so that each connects to the current Milvus, and keeps one for reading backups.

    Several threads may call it.
    """

    def __init__(self, settings: Settings, *, open: Open = Session) -> None:
        self.settings = settings
        self._open = open
        self._lock = threading.Lock()
        self._reader: Session | None = None

    def close(self) -> None:
        with self._lock:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @property
    def reader(self) -> Session:
        with self._lock:
            if self._reader is None:
                self._reader = self._open(self.settings)
            return self._reader

    @contextmanager
    def opened(self, *, path: str = "", bucket: str = "") -> Iterator[Session]:
        with self._open(self._placed(path, bucket)) as session:
            yield session

    @contextmanager
    def reading(self, *, path: str = "", bucket: str = "") -> Iterator[Session]:
        """A session for reading the backup storage only."""
        if path or bucket:
            with self.opened(path=path, bucket=bucket) as session:
                yield session
        else:
            yield self.reader

    def refuse_existing(self, name: str, *, path: str = "", bucket: str = "") -> None:
        """Raises `BackupExists` if anything lies under the name of a new backup."""
        from mbk.engine.repository.catalog import backup_exists

        with self.reading(path=path, bucket=bucket) as session:
            if session.is_taken(name):
                raise backup_exists(
                    name, session.backup_storage.location, hint="use another name, or delete it first"
                )

    def normal(self, path: str, bucket: str) -> tuple[str, str]:
        """Path and bucket in a form that can be compared: empty if they are the configured ones."""
        values = self.settings.backup_storage.values
        path, root = self._bare(path), self._bare(str(values.get("root_path", "")))
        return "" if path == root else path, "" if bucket == values.get("bucket") else bucket

    def check_place(self, path: str, bucket: str) -> None:
        """Raises `UsageError` for a path or bucket that a request may not name."""
        self._placed(path, bucket)

    def _placed(self, path: str, bucket: str) -> Settings:
        if not path and not bucket:
            return self.settings
        choice = self.settings.backup_storage
        changes: dict[str, str] = {}
        if bucket:
            changes["bucket"] = _checked_bucket(bucket)
        if path:
            changes["root_path"] = self._checked_path(path)
        if self._is_directory and bucket and bucket != choice.values.get("bucket"):
            raise UsageError(
                "bucket_name {bucket!r}: the backup storage is a directory and has no buckets",
                code="directory-without-buckets",
                bucket=bucket,
                hint="omit bucket_name",
            )
        placed: StorageChoice = choice.model_copy(update={"values": {**choice.values, **changes}})
        return self.settings.model_copy(update={"backup_storage": placed})

    def _bare(self, path: str) -> str:
        """Without the slashes that mean nothing: those at both ends of a prefix, that at the end of a directory."""
        return path.rstrip("/") if self._is_directory else path.strip("/")

    @property
    def _is_directory(self) -> bool:
        return bool(self.reader.backup_storage.location.mount)

    def _checked_path(self, path: str) -> str:
        """A request's path never leaves the bucket or, if the storage is a directory, the configured directory."""
        root = self._bare(str(self.settings.backup_storage.values.get("root_path", "")))
        if self._bare(path) == root:
            return root
        if not _PATH.fullmatch(path.removeprefix("/")) or {".", ".."} & {*path.split("/")}:
            raise UsageError(
                "path {path!r} is not allowed",
                code="path-not-allowed",
                path=path,
                hint="use letters, digits and / . _ - = @ +, without ..",
            )
        if self._is_directory and not (root.startswith("/") and path.startswith(f"{root}/")):
            raise UsageError(
                "path {path!r} is not below the configured directory",
                code="path-outside-directory",
                path=path,
                hint="use a path below it, or omit it",
            )
        return path


def _checked_bucket(bucket: str) -> str:
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(
            "bucket_name {bucket!r} is not valid",
            code="bucket-name-invalid",
            bucket=bucket,
            hint="use 3 to 63 letters, digits, . _ and -",
        )
    return bucket
