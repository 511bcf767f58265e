"""An object read in ranges, as a file that pyarrow can seek in."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

#: Bytes a request: a small object takes a single request, a large one is never in memory as a whole.
BLOCK = 4 << 20


class Blob:
    """``key`` names the object in errors; ``fetch(offset, length)`` reads from its ``size`` bytes. For one thread."""

    def __init__(self, key: str, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self.key = key
        self.size = size
        self._fetch = fetch
        self._start = 0
        self._block = b""

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes only at the end of the object. The last block is cached."""
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        at = offset - self._start
        if at < 0 or at + length > len(self._block):
            small = self.size <= BLOCK
            self._start = 0 if small else offset
            self._block = self._fetch(self._start, min(max(length, BLOCK), self.size - self._start))
            at = offset - self._start
        return self._block[at : at + length]

    def window(self, start: int = 0, end: int | None = None) -> Window:
        return Window(self, start, self.size if end is None else end)


class Window(io.RawIOBase):
    """A part of a blob as a read-only file."""

    def __init__(self, blob: Blob, start: int, end: int) -> None:
        self._blob = blob
        self._start = start
        self._size = end - start
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._position)
        data = self._blob.read(self._start + self._position, length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
