"""One multipart upload, by the XML API: the service's only way to take parts in any order.

https://cloud.google.com/storage/docs/multipart-uploads: parts of 5 MiB to 5 GiB but the last, 10,000 of them, no
preconditions, no copied parts; unfinished uploads stay for ever and can be listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree

import google_crc32c
import requests

from mbk.errors import StorageUnavailable, Unsupported
from mbk.plugin.uploads import Part, PartsUpload
from mbk.ports.storage import ObjectInfo, Storage
from mbk_gcp.errors import require_success, translated
from mbk_gcp.upload import CONTENT_TYPE, encoded

if TYPE_CHECKING:
    from mbk_gcp.storage import GcpStorage


class GcpUpload(PartsUpload):
    """See :class:`mbk.ports.storage.MultipartUpload`."""

    def __init__(self, storage: GcpStorage, key: str) -> None:
        super().__init__(storage, key, where=storage.place)
        self._storage = storage
        answer = self._send("start", "POST", "uploads", headers={"Content-Type": CONTENT_TYPE})
        self._id = _text(_parsed(answer, storage, key), "UploadId")
        self._started = parsedate_to_datetime(answer.headers["Date"]) if "Date" in answer.headers else None

    def put_part(self, number: int, data: bytes) -> None:
        headers = {"x-goog-hash": f"crc32c={encoded(google_crc32c.Checksum(data))}"}
        answer = self._send(
            f"write part {number} of", "PUT", f"partNumber={number}&{self._of_upload}", data, headers
        )
        self.remember(number, answer.headers["ETag"], len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        raise Unsupported(
            f"cannot fill part {number} of {self._key!r} in {self._storage.place} from {key!r} in {source.location}, "
            f"{length} bytes from {offset}: the service copies whole objects only"
        )

    def send_complete(self, parts: Mapping[int, Part]) -> None:
        answer = self._send("complete", "POST", self._of_upload, _listing(parts))
        _parsed(answer, self._storage, self._key)

    def send_abort(self) -> None:
        abort(self._storage, self._key, self._id)

    def is_ours(self, found: ObjectInfo) -> bool:
        return self._started is None or (found.modified or _LONG_AGO) >= self._started

    @property
    def _of_upload(self) -> str:
        return f"uploadId={quote(self._id, safe='')}"

    def _send(
        self, doing: str, method: str, query: str, data: bytes = b"", headers: dict[str, str] | None = None
    ) -> requests.Response:
        storage = self._storage
        with translated(storage.place, f"{doing} the multipart upload of", self._key):
            url = storage.connection.xml_url(storage.place.bucket, self._key, query)
            answer = storage.connection.send(method, url, data=data, headers=headers)
            require_success(answer, 200)
        return answer


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def abort(storage: GcpStorage, key: str, upload_id: str) -> None:
    with translated(storage.place, "abort the multipart upload of", key):
        url = storage.connection.xml_url(storage.place.bucket, key, f"uploadId={quote(upload_id, safe='')}")
        require_success(storage.connection.send("DELETE", url), 200, 204)


def unfinished(storage: GcpStorage, prefix: str) -> Iterator[tuple[str, str]]:
    """Keys and ids of the uploads below a prefix that were neither completed nor aborted."""
    marker = ""
    while True:
        query = f"uploads&prefix={quote(prefix, safe='')}{marker}"
        with translated(storage.place, "list the unfinished uploads of"):
            answer = storage.connection.send(
                "GET", storage.connection.xml_url(storage.place.bucket, None, query)
            )
            require_success(answer, 200)
        page = _parsed(answer, storage, None)
        for upload in page.iterfind("{*}Upload"):
            if (key := _text(upload, "Key")).startswith(prefix):
                yield key, _text(upload, "UploadId")
        if _text(page, "IsTruncated") != "true":
            return
        last, last_id = (quote(_text(page, f"Next{name}Marker"), safe="") for name in ("Key", "UploadId"))
        marker = f"&key-marker={last}&upload-id-marker={last_id}"


def _listing(parts: Mapping[int, Part]) -> bytes:
    root = ElementTree.Element("CompleteMultipartUpload")
    for number, part in parts.items():
        element = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(element, "PartNumber").text = str(number)
        ElementTree.SubElement(element, "ETag").text = part.etag
    return ElementTree.tostring(root)


def _parsed(answer: requests.Response, storage: GcpStorage, key: str | None) -> ElementTree.Element:
    where = storage.place if key is None else f"{key!r} in {storage.place}"
    try:
        root = ElementTree.fromstring(answer.content)
    except ElementTree.ParseError as exc:
        raise StorageUnavailable(f"the answer about {where} is not XML") from exc
    if root.tag.rpartition("}")[2] == "Error":
        raise StorageUnavailable(f"the answer about {where} is an error: {_text(root, 'Code')}")
    return root


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
