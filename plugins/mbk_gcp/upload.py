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
from urllib.parse import quote, urlencode
from uuid import uuid4

import google_crc32c
import requests

from mbk.errors import TransferInterrupted
from mbk.plugin.wire import Terms, WireError
from mbk.ports.storage import Receipt
from mbk_gcp.answers import encoded, receipt_of
from mbk_gcp.client import Connection
from mbk_gcp.errors import FOREIGN, require_success
from mbk_gcp.options import resource_with

CONTENT_TYPE = "application/octet-stream"

_KEPT = re.compile(r"bytes=0-(\d+)")


def put(connection: Connection, bucket: str, key: str, data: bytes, terms: Terms) -> Receipt:
    """One request for the resource, with the checksum that the service holds the bytes against, and for the bytes.

    The SDK would divide what is larger than 8 MiB.
    """
    resource = resource_with(terms.options) | {"crc32c": encoded(google_crc32c.Checksum(data))}
    boundary = uuid4().hex
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
        f"--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
    )
    answer = connection.send(
        "POST",
        _url(connection, bucket, key, terms, "multipart"),
        data=b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode())),
        headers={"Content-Type": f"multipart/related; boundary={boundary}"},
    )
    require_success(answer, 200)
    return receipt_of(answer.json())


def stream(connection: Connection, bucket: str, key: str, pieces: Iterator[bytes], terms: Terms) -> Receipt:
    """Whatever is raised on the way cancels the upload, and nothing is visible."""
    answer = connection.send(
        "POST",
        _url(connection, bucket, key, terms, "resumable"),
        data=json.dumps(resource_with(terms.options)).encode(),
        headers={"Content-Type": "application/json", "X-Upload-Content-Type": CONTENT_TYPE},
    )
    require_success(answer, 200, 201)
    upload = _ResumableUpload(connection, answer.headers["Location"])
    try:
        return upload.write(pieces)
    except BaseException:
        with suppress(*FOREIGN):
            connection.send("DELETE", upload.url)
        raise


class _ResumableUpload:
    """``url`` holds the session's secret."""

    def __init__(self, connection: Connection, url: str) -> None:
        self.url = url
        self._connection = connection
        self._sent = 0
        self._checksum: Any = google_crc32c.Checksum()

    def write(self, pieces: Iterator[bytes]) -> Receipt:
        piece = next(pieces)
        for following in pieces:
            self._send(piece, last=False)
            piece = following
        return receipt_of(self._send(piece, last=True).json())

    def _send(self, piece: bytes, *, last: bool) -> requests.Response:
        """Sends a piece, again from where the service kept less than the whole of it."""
        self._checksum.update(piece)
        end = self._sent + len(piece)
        total = str(end) if last else "*"
        headers = {"x-goog-hash": f"crc32c={encoded(self._checksum)}"} if last else {}
        while True:
            headers["Content-Range"] = f"bytes {self._sent}-{end - 1}/{total}"
            response = self._connection.send("PUT", self.url, data=piece, headers=headers)
            require_success(response, 200, 201, 308)
            if response.status_code != 308:
                return response
            match = _KEPT.fullmatch(response.headers.get("Range", ""))
            kept = int(match[1]) + 1 if match else 0
            if kept == end and not last:
                self._sent = end
                return response
            if not self._sent < kept < end:
                raise WireError(
                    TransferInterrupted,
                    "the service kept {kept} of {sent} bytes",
                    code="bytes-lost",
                    kept=kept,
                    sent=end,
                )
            piece, self._sent = piece[kept - self._sent :], kept


def _url(connection: Connection, bucket: str, key: str, terms: Terms, kind: str) -> str:
    query = {"uploadType": kind, "name": key}
    if terms.if_absent:
        query["ifGenerationMatch"] = "0"
    if terms.options.encryption_key:
        query["kmsKeyName"] = terms.options.encryption_key
    return f"{connection.url}/upload/storage/v1/b/{bucket}/o?{urlencode(query, quote_via=quote, safe='')}"
