"""Sessions for requests and jobs: the configured one, and those with another place for the backups."""

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
    """Opens a session for every job, so that each sees the Milvus of its time, and keeps one for reading backups."""

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
        """For asking the backup storage alone."""
        if path or bucket:
            with self.opened(path=path, bucket=bucket) as session:
                yield session
        else:
            yield self.reader

    def normal(self, path: str, bucket: str) -> tuple[str, str]:
        """The place as it is compared: empty where it is the configured one anyway."""
        values = self.settings.backup_storage.values
        path, root = path.rstrip("/"), str(values.get("root_path", "")).rstrip("/")
        return "" if path == root else path, "" if bucket == values.get("bucket") else bucket

    def check_place(self, path: str, bucket: str) -> None:
        """`UsageError` for a place that a request may not name."""
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
                "bucket_name: this storage is a directory and has no buckets",
                code="bucketname-storage-directory-buckets",
                hint="leave it out",
            )
        placed: StorageChoice = choice.model_copy(update={"values": {**choice.values, **changes}})
        return self.settings.model_copy(update={"backup_storage": placed})

    @property
    def _is_directory(self) -> bool:
        return bool(self.reader.backup_storage.location.mount)

    def _checked_path(self, path: str) -> str:
        """A path of a request never leaves the bucket, nor, where backups lie in a directory, the configured one."""
        root = str(self.settings.backup_storage.values.get("root_path", "")).rstrip("/")
        if path.rstrip("/") == root:
            return root
        if not _PATH.fullmatch(path.removeprefix("/")) or {".", ".."} & {*path.split("/")}:
            raise UsageError(
                "path {path!r} is not allowed",
                code="path-allowed",
                path=path,
                hint="use letters, digits and / . _ - = @ +, and no ..",
            )
        if self._is_directory and not (root.startswith("/") and path.startswith(f"{root}/")):
            raise UsageError(
                "path {path!r} is not below the configured directory",
                code="path-below-configured-directory",
                path=path,
                hint="leave it out",
            )
        return path


def _checked_bucket(bucket: str) -> str:
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(
            "bucket_name {bucket!r} is not allowed",
            code="bucketname-allowed",
            bucket=bucket,
            hint="3 to 63 letters, digits, . _ and -",
        )
    return bucket
