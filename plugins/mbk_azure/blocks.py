"""One multipart upload, which on Azure is a list of blocks, and how a stream is cut into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from azure.core import MatchConditions  # noqa: TID253  loaded only with an opened storage
from azure.storage.blob import BlobBlock  # noqa: TID253  loaded only with an opened storage

from mbk.errors import MbkError, StorageError, Unsupported
from mbk.ports.storage import MIB, ObjectInfo, Storage
from mbk_azure.errors import Source, translated
from mbk_azure.signing import CopySource

if TYPE_CHECKING:
    from mbk_azure.storage import AzureStorage

#: A write of at most this many known bytes is one request.
SINGLE_WRITE = 16 * MIB
BLOCK = 8 * MIB
MAX_BLOCKS = 50_000
#: Blocks of a stream of unknown length grow by `BLOCK` after so many, which makes 50,000 of them more than 9 TiB.
BLOCKS_OF_ONE_SIZE = 1000


def block_sizes(size: int | None) -> Iterator[int]:
    """How many bytes each block takes, so that the object fits into the blocks allowed."""
    if size is None:
        for number in range(MAX_BLOCKS):
            yield BLOCK * (1 + number // BLOCKS_OF_ONE_SIZE)
        return
    block = SINGLE_WRITE if size <= SINGLE_WRITE else max(BLOCK, -(-size // MAX_BLOCKS))
    for _ in range(MAX_BLOCKS):
        yield block


def cut(chunks: Iterable[bytes], sizes: Iterator[int]) -> Iterator[bytes]:
    """The same bytes in pieces of the given sizes, the last one shorter. Holds one piece and one chunk."""
    held = bytearray()
    wanted = next(sizes)
    for chunk in chunks:
        view = memoryview(chunk)
        while len(held) + len(view) >= wanted:
            taken = wanted - len(held)
            held += view[:taken]
            yield bytes(held)
            held, view = bytearray(), view[taken:]
            wanted = _next_size(sizes)
        held += view
    if held:
        yield bytes(held)


def _next_size(sizes: Iterator[int]) -> int:
    for size in sizes:
        return size
    raise StorageError(f"more bytes came than {MAX_BLOCKS} blocks can hold")


def counted(chunks: Iterable[bytes], size: int | None, fail: Callable[[str], MbkError]) -> Iterator[bytes]:
    """The same chunks; raises before the first byte too many, and at the end when bytes are missing."""
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if size is not None and seen > size:
            raise fail(f"more than the {size} bytes announced came")
        yield chunk
    if size is not None and seen < size:
        raise fail(f"{seen} bytes came, {size} were announced")


class AzureUpload:
    """See :class:`mbk.ports.storage.MultipartUpload`. ``only_if_absent`` makes completing conditional.

    The service knows no uploads, only blocks that wait beside an object until a list of them is committed, which drops
    all others. Block ids carry the name of the upload, so that two uploads never mix; but the first one that completes
    drops the other's blocks, and the other fails.
    """

    def __init__(self, storage: AzureStorage, key: str, *, only_if_absent: bool = False) -> None:
        self._storage = storage
        self._key = key
        self._condition = {"match_condition": MatchConditions.IfMissing} if only_if_absent else {}
        self._name = uuid4().hex[:16]
        self._blocks: dict[int, int] = {}
        self._lock = Lock()
        self._closed = False
        self._client = storage.blob(key)

    def __repr__(self) -> str:
        return f"<multipart upload of {self._key!r} to {self._storage.place}>"

    def __enter__(self) -> AzureUpload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if exc_info[0] is None:
            self.abort()
            return
        # The first error is the one to tell; what could not be removed is `clean`'s.
        with suppress(MbkError):
            self.abort()

    def put_part(self, number: int, data: bytes) -> None:
        self._remember(number, len(data))
        with translated(self._storage.place, f"write part {number} of", self._key):
            self._client.stage_block(self._id(number), data, length=len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        if not isinstance(source, CopySource):
            raise Unsupported(f"no part copy from {source.location} to {self._storage.place}")
        url = source.signed_url(key)
        self._remember(number, length)
        origin = Source(source.place, key)
        with translated(self._storage.place, f"copy part {number} to", self._key, source=origin):
            self._client.stage_block_from_url(
                self._id(number), url, source_offset=offset, source_length=length
            )

    def complete(self) -> ObjectInfo:
        """May be called again when its answer was lost: blocks that were committed are found among the object's."""
        with self._lock:
            blocks = dict(sorted(self._blocks.items()))
        if not blocks:
            raise StorageError(f"the upload of {self._key!r} to {self._storage.place} has no parts")
        listed = [BlobBlock(self._id(number)) for number in blocks]
        with translated(self._storage.place, "complete the multipart upload of", self._key):
            answer: dict[str, Any] = self._client.commit_block_list(listed, **self._condition)
        self._closed = True
        return ObjectInfo(self._key, sum(blocks.values()), bare(answer.get("etag")))

    def abort(self) -> None:
        if self._closed:
            return
        with self._lock:
            begun = bool(self._blocks)
        if begun:
            self._storage.discard(self._key, upload=self._name)
        self._closed = True

    def _id(self, number: int) -> str:
        """All ids of a blob must be of one length. The SDK encodes them."""
        return f"{self._name}-{number:07d}"

    def _remember(self, number: int, size: int) -> None:
        with self._lock:
            self._blocks[number] = size


def bare(etag: str | None) -> str | None:
    return etag.strip('"') if etag else None
