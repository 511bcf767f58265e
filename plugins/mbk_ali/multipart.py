"""One multipart upload, and how a stream is cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from oss2.models import PartInfo  # noqa: TID253  loaded only with an opened storage

from mbk.errors import MbkError, ObjectNotFound, StorageError, Unsupported
from mbk.ports.storage import MIB, ObjectInfo, Storage
from mbk_ali.errors import translated

if TYPE_CHECKING:
    from mbk_ali.storage import AliStorage

#: A write of at most this many known bytes is one request.
SINGLE_WRITE = 16 * MIB
PART = 8 * MIB
MAX_PARTS = 10_000
#: Parts of a stream of unknown length grow by `PART` after so many, which makes 10,000 of them more than 5 TiB.
PARTS_OF_ONE_SIZE = 75

#: Makes a write conditional. OSS ignores it in a bucket that keeps versions.
FORBID_OVERWRITE = {"x-oss-forbid-overwrite": "true"}


def part_sizes(size: int | None) -> Iterator[int]:
    """How many bytes each part takes, so that any object fits into the parts allowed."""
    if size is None:
        for number in range(MAX_PARTS):
            yield PART * (1 + number // PARTS_OF_ONE_SIZE)
        return
    part = SINGLE_WRITE if size <= SINGLE_WRITE else max(PART, -(-size // MAX_PARTS))
    for _ in range(MAX_PARTS):
        yield part


def cut(chunks: Iterable[bytes], sizes: Iterator[int]) -> Iterator[bytes]:
    """The same bytes in pieces of the given sizes, the last one shorter. Holds one piece and one chunk."""
    wanted = next(sizes)
    pending: list[bytes] = []
    held = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while held + len(view) >= wanted:
            taken = wanted - held
            yield b"".join([*pending, view[:taken]])
            view, pending, held = view[taken:], [], 0
            wanted = _next_size(sizes)
        if view:
            pending.append(bytes(view))
            held += len(view)
    if held:
        yield b"".join(pending)


def _next_size(sizes: Iterator[int]) -> int:
    for size in sizes:
        return size
    raise StorageError(f"more bytes came than {MAX_PARTS} parts can hold")


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


@dataclass(frozen=True, slots=True)
class Part:
    etag: str
    size: int


class AliUpload:
    """See :class:`mbk.ports.storage.MultipartUpload`. ``only_if_absent`` makes completing conditional."""

    def __init__(self, storage: AliStorage, key: str, *, only_if_absent: bool = False) -> None:
        self._storage = storage
        self._key = key
        self._condition = FORBID_OVERWRITE if only_if_absent else {}
        self._parts: dict[int, Part] = {}
        self._lock = Lock()
        self._closed = False
        self._asked_to_complete = False
        with translated(storage.place, "start a multipart upload of", key):
            answer = storage.client.init_multipart_upload(key, headers=self._condition)
        self._id: str = answer.upload_id

    def __repr__(self) -> str:
        return f"<multipart upload of {self._key!r} to {self._storage.place}>"

    def __enter__(self) -> AliUpload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if exc_info[0] is None:
            self.abort()
            return
        # The first error is the one to tell; what could not be removed is `clean`'s.
        with suppress(MbkError):
            self.abort()

    def put_part(self, number: int, data: bytes) -> None:
        with translated(self._storage.place, f"write part {number} of", self._key):
            answer = self._storage.client.upload_part(self._key, self._id, number, data)
        self._remember(number, answer.etag, len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        storage = self._storage
        if not storage.can_copy_from(source):
            raise Unsupported(f"no part copy from {source.location} to {storage.place}")
        storage.check_key(key, storage.place_of(source))
        with translated(storage.place_of(source), f"copy part {number} from", key):
            answer = storage.client.upload_part_copy(
                source.location.bucket,
                key,
                (offset, offset + length - 1),
                self._key,
                self._id,
                number,
            )
            storage.require_result(answer, "CopyPartResult")
        self._remember(number, answer.etag, length)

    def complete(self) -> ObjectInfo:
        with self._lock:
            parts = dict(sorted(self._parts.items()))
        if not parts:
            raise StorageError(f"the upload of {self._key!r} to {self._storage.place} has no parts")
        size = sum(part.size for part in parts.values())
        asked, self._asked_to_complete = self._asked_to_complete, True
        try:
            answer = self._send_complete([PartInfo(number, part.etag) for number, part in parts.items()])
        except ObjectNotFound:
            # An upload that was completed is gone: where an earlier answer was lost, look for the object.
            if not asked:
                raise
            info = self._storage.stat(self._key)
            if info.size != size or not (info.etag or "").endswith(f"-{len(parts)}"):
                raise
        else:
            info = ObjectInfo(self._key, size, answer.etag)
        self._closed = True
        return info

    def abort(self) -> None:
        if self._closed:
            return
        with (
            suppress(ObjectNotFound),
            translated(self._storage.place, "abort the multipart upload of", self._key),
        ):
            self._storage.client.abort_multipart_upload(self._key, self._id)
        self._closed = True

    def _send_complete(self, parts: list[Any]) -> Any:
        with translated(self._storage.place, "complete the multipart upload of", self._key):
            answer = self._storage.client.complete_multipart_upload(
                self._key, self._id, parts, headers=self._condition
            )
            self._storage.require_result(answer, "CompleteMultipartUploadResult")
        return answer

    def _remember(self, number: int, etag: str, size: int) -> None:
        with self._lock:
            self._parts[number] = Part(etag, size)
