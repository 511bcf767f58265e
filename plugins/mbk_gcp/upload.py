"""Writing a stream: pieces of one size through a resumable upload, which becomes visible with its last piece.

https://cloud.google.com/storage/docs/performing-resumable-uploads: pieces are multiples of 256 KiB, 308 answers tell
how much was kept, ``Content-Range: bytes 0-*/*`` needs no total before the last piece, 499 answers a cancellation.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import google_crc32c
import requests

from mbk.errors import MbkError, TransferInterrupted
from mbk.ports.storage import MIB, ObjectInfo
from mbk_gcp.client import ONCE
from mbk_gcp.errors import require_success, translated

if TYPE_CHECKING:
    from mbk_gcp.storage import GcpStorage

#: Up to so much is written in one request, which is also the SDK's own limit for that.
PIECE = 8 * MIB
CONTENT_TYPE = "application/octet-stream"

_KEPT = re.compile(r"bytes=0-(\d+)")


class ResumableUpload:
    """One object written piece by piece; whatever is raised on the way cancels it, and nothing is visible."""

    def __init__(self, storage: GcpStorage, key: str, size: int | None, conditions: dict[str, int]) -> None:
        self._storage = storage
        self._key = key
        self._sent = 0
        self._checksum = google_crc32c.Checksum()
        with translated(storage.place, "start an upload of", key):
            self._url: str = storage.blob(key).create_resumable_upload_session(
                content_type=CONTENT_TYPE, size=size, checksum=None, **conditions, **ONCE
            )

    def write(self, pieces: Iterator[bytes]) -> ObjectInfo:
        try:
            piece = next(pieces)
            for following in pieces:
                self._send(piece, last=False)
                piece = following
            return self._written(self._send(piece, last=True))
        except BaseException:
            with suppress(MbkError):
                self._cancel()
            raise

    def _send(self, piece: bytes, *, last: bool) -> requests.Response:
        """Sends a piece, again from where the service kept less than the whole of it."""
        self._checksum.update(piece)
        end = self._sent + len(piece)
        total = str(end) if last else "*"
        headers = {"x-goog-hash": f"crc32c={encoded(self._checksum)}"} if last else {}
        while True:
            headers["Content-Range"] = f"bytes {self._sent}-{end - 1}/{total}"
            with translated(self._storage.place, "write", self._key):
                response = self._storage.connection.send("PUT", self._url, data=piece, headers=headers)
                require_success(response, 200, 201, 308)
            if response.status_code != 308:
                return response
            match = _KEPT.fullmatch(response.headers.get("Range", ""))
            kept = int(match[1]) + 1 if match else 0
            if kept == end and not last:
                self._sent = end
                return response
            if not self._sent < kept < end:
                raise TransferInterrupted(
                    f"cannot write {self._key!r} in {self._storage.place}: {kept} bytes were kept of {end}"
                )
            piece, self._sent = piece[kept - self._sent :], kept

    def _written(self, response: requests.Response) -> ObjectInfo:
        with translated(self._storage.place, "write", self._key):
            resource = response.json()
            return ObjectInfo(
                self._key,
                int(resource["size"]),
                resource.get("etag"),
                datetime.fromisoformat(resource["updated"]),
            )

    def _cancel(self) -> None:
        with translated(self._storage.place, "cancel the upload of", self._key):
            self._storage.connection.send("DELETE", self._url)


def encoded(checksum: Any) -> str:
    """A CRC32C as the service writes it: base64 of its big-endian bytes."""
    return base64.b64encode(checksum.digest()).decode()
