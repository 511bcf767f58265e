"""One object, open to be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType

from mbk.errors import TransferInterrupted
from mbk_local.copying import CHUNK
from mbk_local.directory import Directory
from mbk_local.errors import translating


class Reading:
    """A range of an object, open while the context lasts. ``offset`` and ``length`` in bytes; None: to the end.

    A class, for metadata files are small and many, and a generator costs thrice as much.
    """

    __slots__ = ("_descriptor", "_directory", "_key", "_length", "_offset")

    def __init__(self, directory: Directory, key: str, offset: int, length: int | None) -> None:
        self._directory = directory
        self._key = key
        self._offset = offset
        self._length = length
        self._descriptor = -1

    def __enter__(self) -> Iterator[bytes]:
        self._descriptor, size = self._directory.open_object(self._key)
        end = size if self._length is None else min(size, self._offset + self._length)
        return self._chunks(end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def _chunks(self, end: int) -> Iterator[bytes]:
        offset = self._offset
        if 0 < offset < end:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
        while offset < end:
            with translating(self._directory.subject(self._key)):
                data = os.read(self._descriptor, min(CHUNK, end - offset))
            if not data:
                raise TransferInterrupted(
                    "{path} was truncated while it was being read",
                    code="file-truncated",
                    path=self._directory.subject(self._key),
                )
            offset += len(data)
            yield data
