"""For storages that upload in parts: the bookkeeping of one multipart upload (`mbk.ports.storage.MultipartUpload`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Self

from mbk.errors import MbkError, ObjectNotFound, StorageError
from mbk.ports.storage import ObjectInfo, Storage


@dataclass(frozen=True, slots=True)
class Part:
    etag: str
    size: int


class PartsUpload(ABC):
    """An upload whose parts are sent by ``put_part`` and ``copy_part`` of the subclass, in any order, from any thread.

    Both call `remember` for a part that the service took. `complete` may be called again when its answer was lost: an
    upload that was completed is gone for the service, and then the object is looked for. Leaving the ``with`` block
    without having completed aborts. ``where`` is the storage as messages tell it.
    """

    def __init__(self, storage: Storage, key: str, *, where: object) -> None:
        self._key = key
        self._owner = storage
        self._where = where
        self._parts: dict[int, Part] = {}
        self._lock = Lock()
        self._closed = False
        self._asked_to_complete = False

    @abstractmethod
    def send_complete(self, parts: Mapping[int, Part]) -> str | None:
        """Asks the service to make the object of these parts, which are in order. Returns its etag, if one is told."""

    @abstractmethod
    def send_abort(self) -> None:
        """Asks the service to drop the parts. May raise `ObjectNotFound` for an upload that is gone."""

    def is_ours(self, found: ObjectInfo) -> bool:
        """Whether an object of the right size is this upload's. By default its etag ends with the number of parts."""
        return (found.etag or "").endswith(f"-{len(self._parts)}")

    @property
    def has_parts(self) -> bool:
        with self._lock:
            return bool(self._parts)

    def remember(self, number: int, etag: str, size: int) -> None:
        with self._lock:
            self._parts[number] = Part(etag, size)

    def complete(self) -> ObjectInfo:
        with self._lock:
            parts = dict(sorted(self._parts.items()))
        if not parts:
            raise StorageError(f"the upload of {self._key!r} to {self._where} has no parts")
        size = sum(part.size for part in parts.values())
        asked, self._asked_to_complete = self._asked_to_complete, True
        try:
            info = ObjectInfo(self._key, size, self.send_complete(parts))
        except ObjectNotFound:
            if not asked:
                raise
            info = self._owner.stat(self._key)
            if info.size != size or not self.is_ours(info):
                raise
        self._closed = True
        return info

    def abort(self) -> None:
        if self._closed:
            return
        with suppress(ObjectNotFound):
            self.send_abort()
        self._closed = True

    def __repr__(self) -> str:
        return f"<multipart upload of {self._key!r} to {self._where}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if exc_info[0] is None:
            self.abort()
            return
        # The first error is the one to tell; what could not be removed is `clean`'s.
        with suppress(MbkError):
            self.abort()


def bare(etag: str | None) -> str | None:
    """An etag without the quotes that HTTP puts around it."""
    return etag.strip('"') if etag else None
