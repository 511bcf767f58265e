"""Multipart uploads, by the XML API: the service's only way to take parts in any order, and so several at once.

https://cloud.google.com/storage/docs/multipart-uploads: parts of 5 MiB to 5 GiB but the last, 10,000 of them, no
preconditions, no copied parts; unfinished uploads stay for ever and can be listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote
from xml.etree import ElementTree

from mbk.plugin.conditions import answer_unreadable, error_in_success
from mbk.plugin.headers import required
from mbk.plugin.http import Answer
from mbk.plugin.wire import Marker, Part, Unfinished, Upload


def of_upload(upload: Upload) -> str:
    """The query that names it."""
    return f"uploadId={quote(upload.id, safe='')}"


def of_listing(prefix: str, marker: Marker) -> str:
    query = f"uploads&prefix={quote(prefix, safe='')}"
    if not any(marker):
        return query
    key, upload_id = (quote(part, safe="") for part in marker)
    return f"{query}&key-marker={key}&upload-id-marker={upload_id}"


def started(answer: Answer) -> tuple[str, datetime | None]:
    """The id of an upload that was started, and when that was by the service's clock."""
    date = answer.headers.get("Date")
    upload_id = _text(parsed(answer), "UploadId")
    return required({"UploadId": upload_id}, "UploadId"), parsedate_to_datetime(date) if date else None


def unfinished(answer: Answer) -> Unfinished:
    page = parsed(answer)
    following = (_text(page, "NextKeyMarker"), _text(page, "NextUploadIdMarker"))
    return Unfinished(
        uploads=[(_text(found, "Key"), _text(found, "UploadId")) for found in page.iterfind("{*}Upload")],
        next=following if _text(page, "IsTruncated") == "true" else None,
    )


def listed(parts: Sequence[Part]) -> bytes:
    """The body that completes an upload of these parts."""
    root = ElementTree.Element("CompleteMultipartUpload")
    for part in parts:
        element = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(element, "PartNumber").text = str(part.number)
        ElementTree.SubElement(element, "ETag").text = part.etag
    return ElementTree.tostring(root)


def parsed(answer: Answer) -> ElementTree.Element:
    """The body of an answer; the service may tell an error in one of success."""
    try:
        root = ElementTree.fromstring(answer.content)
    except ElementTree.ParseError as exc:
        raise answer_unreadable("XML") from exc
    name = root.tag.rpartition("}")[2]
    if name == "Error":
        raise error_in_success(_text(root, "Code"))
    if not name.endswith("Result"):
        raise answer_unreadable("a result")
    return root


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
