"""Writing under a condition: in one request, or piece by piece through a resumable upload, which is seen with its last piece.

Multipart uploads know no preconditions, and a resumable upload takes its pieces one after the other.
https://cloud.google.com/storage/docs/performing-resumable-uploads: pieces are multiples of 256 KiB, 308 answers tell
how much was kept, ``Content-Range: bytes 0-*/*`` needs no total before the last piece, 499 answers a cancellation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

import google_crc32c

from mbk.errors import TransferInterrupted
from mbk.plugin.headers import required
from mbk.plugin.http import Answer
from mbk.plugin.wire import Data, Terms, WireError
from mbk.ports.storage import Receipt
from mbk_gcp.answers import Resource, add, encoded, read
from mbk_gcp.errors import FOREIGN
from mbk_gcp.options import resource_with
from mbk_gcp.service import Service

CONTENT_TYPE = "application/octet-stream"

#: The service's words for a piece that it took, not the last one, and for an upload that was cancelled.
KEPT_SO_FAR = 308
CANCELLED = 499

_KEPT = re.compile(r"bytes=0-(\d+)")


def put(service: Service, bucket: str, key: str, data: bytes, terms: Terms) -> Receipt:
    """One request for the resource, with the checksum that the service holds the bytes against, and for the bytes.

    The SDK would divide what is larger than 8 MiB.
    """
    resource = resource_with(terms.options) | {"crc32c": encoded(google_crc32c.Checksum(data))}
    boundary = uuid4().hex
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
        f"--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
    )
    answer = service.send(
        "POST",
        _target(bucket, key, terms, "multipart"),
        200,
        headers={"Content-Type": f"multipart/related; boundary={boundary}"},
        body=b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode())),
        repeatable=not terms.if_absent,
    )
    return read(answer, Resource).receipt()


def stream(service: Service, bucket: str, key: str, pieces: Iterator[Data], terms: Terms) -> Receipt:
    """Whatever is raised on the way cancels the upload, and nothing is visible."""
    answer = service.send(
        "POST",
        _target(bucket, key, terms, "resumable"),
        *(200, 201),
        headers={"Content-Type": "application/json", "X-Upload-Content-Type": CONTENT_TYPE},
        body=json.dumps(resource_with(terms.options)).encode(),
        # The service drops uploads that nobody goes on with.
        repeatable=True,
    )
    upload = _ResumableUpload(service, required(answer.headers, "Location"))
    try:
        return upload.write(pieces)
    except BaseException:
        with suppress(*FOREIGN):
            service.send("DELETE", upload.target, CANCELLED)
        raise


class _ResumableUpload:
    """``target`` holds the session's secret; its host is the one that was asked, whatever name an emulator gives itself."""

    def __init__(self, service: Service, url: str) -> None:
        parts = urlsplit(url)
        self.target = f"{parts.path}?{parts.query}"
        self._service = service
        self._sent = 0
        self._checksum: Any = google_crc32c.Checksum()

    def write(self, pieces: Iterator[Data]) -> Receipt:
        piece = next(pieces)
        for following in pieces:
            self._send(piece, last=False)
            piece = following
        return read(self._send(piece, last=True), Resource).receipt()

    def _send(self, piece: Data, *, last: bool) -> Answer:
        """Sends a piece, again from where the service kept less than the whole of it."""
        add(self._checksum, piece)
        end = self._sent + len(piece)
        total = str(end) if last else "*"
        headers = {"x-goog-hash": f"crc32c={encoded(self._checksum)}"} if last else {}
        while True:
            headers["Content-Range"] = f"bytes {self._sent}-{end - 1}/{total}"
            answer = self._service.send(
                "PUT", self.target, *(200, 201, KEPT_SO_FAR), headers=headers, body=piece
            )
            if answer.status != KEPT_SO_FAR:
                return answer
            match = _KEPT.fullmatch(answer.headers.get("Range", ""))
            kept = int(match[1]) + 1 if match else 0
            if kept == end and not last:
                self._sent = end
                return answer
            if not self._sent < kept < end:
                raise WireError(
                    TransferInterrupted,
                    "the service kept {kept} of {sent} bytes",
                    code="bytes-lost",
                    kept=kept,
                    sent=end,
                )
            piece, self._sent = piece[kept - self._sent :], kept


def _target(bucket: str, key: str, terms: Terms, kind: str) -> str:
    query = {"uploadType": kind, "name": key}
    if terms.if_absent:
        query["ifGenerationMatch"] = "0"
    if terms.options.encryption_key:
        query["kmsKeyName"] = terms.options.encryption_key
    return f"/upload/storage/v1/b/{bucket}/o?{urlencode(query, quote_via=quote, safe='')}"
