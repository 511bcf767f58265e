"""One multipart upload over a wire (`mbk.ports.storage.MultipartUpload`): which parts it has, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Self

from mbk.errors import MbkError, ObjectNotFound
from mbk.plugin.calls import Calls
from mbk.plugin.conditions import no_part_copy, upload_empty
from mbk.plugin.wire import Data, Part, Terms, Wire
from mbk.ports.storage import ObjectInfo, Receipt, Storage


class PartsUpload:
    """Parts are sent in any order, from any thread. Making one starts the upload.

    `complete` may be called again when its answer was lost: an upload that was completed is gone for the service, and
    then the object is looked for. Leaving the ``with`` block without having completed aborts.
    """

    def __init__(self, calls: Calls[Wire], key: str, terms: Terms, *, part_copy: bool) -> None:
        self._calls = calls
        self._part_copy = part_copy
        self._parts: dict[int, Part] = {}
        self._lock = Lock()
        self._closed = False
        self._asked_to_complete = False
        with calls.on_key("start a multipart upload of", key):
            self._upload = calls.wire.start(key, terms)

    def put_part(self, number: int, data: Data) -> None:
        with self._calls.on_key(f"write part {number} of", self._upload.key):
            etag = self._calls.wire.put_part(self._upload, number, data)
        self._remember(number, etag, len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        if not self._part_copy:
            raise no_part_copy(self._calls.location)
        with self._calls.on_source(
            f"copy part {number} of {self._upload.key!r} in {self._calls.place} from", source, key
        ):
            etag = self._calls.wire.copy_part(self._upload, number, source, key, offset=offset, length=length)
        self._remember(number, etag, length)

    def complete(self) -> ObjectInfo:
        with self._lock:
            parts = [part for _, part in sorted(self._parts.items())]
        if not parts:
            raise upload_empty(self._upload.key, self._calls.place)
        asked, self._asked_to_complete = self._asked_to_complete, True
        try:
            receipt = self._send_complete(parts)
            info = made(self._upload.key, sum(part.size for part in parts), receipt)
        except ObjectNotFound:
            found = self._object_of(parts) if asked else None
            if found is None:
                raise
            info = found
        self._closed = True
        return info

    def abort(self) -> None:
        if self._closed:
            return
        with suppress(ObjectNotFound), self._calls.on_key("abort the multipart upload of", self._upload.key):
            self._calls.wire.abort(self._upload)
        self._closed = True

    def __repr__(self) -> str:
        return f"<multipart upload of {self._upload.key!r} to {self._calls.place}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if exc_info[0] is None:
            self.abort()
            return
        # The first error is the one to tell; what could not be removed is `clean`'s.
        with suppress(MbkError):
            self.abort()

    def _remember(self, number: int, etag: str, size: int) -> None:
        with self._lock:
            self._parts[number] = Part(number=number, etag=etag, size=size)

    def _send_complete(self, parts: Sequence[Part]) -> Receipt:
        with self._calls.on_key("complete the multipart upload of", self._upload.key):
            return self._calls.wire.complete(self._upload, parts)

    def _object_of(self, parts: Sequence[Part]) -> ObjectInfo | None:
        """The object at the key, if it is what these parts make: of their size, and by its time or its etag."""
        with self._calls.on_key("stat", self._upload.key):
            found = self._calls.wire.head(self._upload.key)
        started = self._upload.started
        if started is None:
            is_ours = (found.etag or "").endswith(f"-{len(parts)}")
        else:
            is_ours = found.modified is not None and found.modified >= started
        return found if is_ours and found.size == sum(part.size for part in parts) else None


def made(key: str, size: int, receipt: Receipt) -> ObjectInfo:
    """An object that was just written, by what is known of it and what the service told."""
    told = size if receipt.size is None else receipt.size
    return ObjectInfo(key, told, receipt.etag, receipt.modified, receipt.checksums)
