"""For storages that upload in parts: a stream held against its announced size and cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mbk.errors import MbkError, StorageError
from mbk.plugin.wire import Data
from mbk.ports.storage import MIB, Capabilities

#: A write of at most this many known bytes is one part, so that it is one request.
SINGLE_WRITE = 16 * MIB
#: The size of a part, but for objects that would need too many of them.
PART = 8 * MIB
#: Into so many groups the parts of a stream of unknown length are divided, each group's parts larger by `PART`: with
#: 10,000 parts 75 a group, which reaches 5 TiB, the largest object of most services.
GROUPS = 133


def part_sizes(size: int | None, limits: Capabilities) -> Iterator[int]:
    """How many bytes each part takes, within the limits; a multiple of 1 MiB.

    With a known ``size`` all are alike and hold it together. Without one they begin with `PART` and grow.
    """
    smallest = max(PART, -(-limits.min_part_size // MIB) * MIB)
    if size is None:
        for number in range(limits.max_parts):
            yield min(smallest + PART * (number // max(1, limits.max_parts // GROUPS)), limits.max_part_size)
        return
    part = SINGLE_WRITE if size <= SINGLE_WRITE else max(smallest, -(-size // (limits.max_parts * MIB)) * MIB)
    for _ in range(limits.max_parts):
        yield part


def cut(chunks: Iterable[bytes], sizes: Iterable[int]) -> Iterator[Data]:
    """The same bytes in pieces of the given sizes, the last one shorter. Holds one piece and one chunk.

    What lies in one chunk is not copied: the pages of fresh memory cost a second of CPU a GiB. Only a piece that is a part of
    a chunk is a view.

    Raises `StorageError` when bytes are left after the last size. Yields nothing for no bytes.
    """
    remaining = iter(sizes)
    wanted = held = 0
    pending: list[Data] = []
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            wanted = wanted or _next_size(remaining)
            taken = view[: wanted - held]
            piece = _kept(chunk, taken)
            view = view[len(taken) :]
            held += len(taken)
            pending.append(piece)
            if held == wanted:
                yield piece if len(pending) == 1 else b"".join(pending)
                pending, wanted, held = [], 0, 0
    if held:
        yield pending[0] if len(pending) == 1 else b"".join(pending)


def _kept(chunk: bytes, taken: memoryview) -> Data:
    """The source may use a buffer again; bytes stay as they are."""
    if type(chunk) is not bytes:
        return bytes(taken)
    return chunk if len(taken) == len(chunk) else taken


def _next_size(sizes: Iterator[int]) -> int:
    for size in sizes:
        return size
    raise StorageError("the data does not fit into the parts of one upload", code="parts-exhausted")


def counted(chunks: Iterable[bytes], size: int | None, fail: Callable[[str], MbkError]) -> Iterator[bytes]:
    """The same chunks; raises before the first byte too many, and at the end when bytes are missing.

    ``size`` None: nothing was announced, nothing is checked. ``fail`` makes the error out of the reason.
    """
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if size is not None and seen > size:
            raise fail(f"more than the announced {size} bytes arrived")
        yield chunk
    if size is not None and seen < size:
        raise fail(f"{seen} bytes arrived, {size} were announced")
