"""The XML of S3: documents that are sent, and what answers say, by the names of their elements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from mbk.errors import StorageUnavailable
from mbk.plugin.conditions import NOT_THE_SERVICE
from mbk.plugin.wire import WireError

#: What an answer says, by the SDK's names.
Members: TypeAlias = dict[str, Any]

#: These may come several times, and are lists also where they come once: by the names that the SDK has for them.
_LISTS = {
    "Contents": "Contents",
    "CommonPrefixes": "CommonPrefixes",
    "Upload": "Uploads",
    "Version": "Versions",
    "DeleteMarker": "DeleteMarkers",
    "Error": "Errors",
}
#: What all answers of S3 are called, and one of rclone's: a page of a proxy may be XML, too.
_OF_SERVICE = re.compile(r"\w+Result|Error|InitiateMultipartUpload")
_TRUTHS = frozenset({"IsTruncated", "IsLatest"})
_NAMES = frozenset({"Key", "Prefix", "KeyMarker", "NextKeyMarker", "Delimiter", "StartAfter"})


def parsed(body: bytes) -> tuple[str, Members]:
    """The name of the document and its members. `WireError` where it is cut off, no XML, or none of S3."""
    try:
        # Whitespace keeps the connection alive while the service works.
        root = ElementTree.fromstring(body.strip())
    except (ElementTree.ParseError, ValueError):
        raise unreadable() from None
    name, members = _name(root), _members(root)
    if not _OF_SERVICE.fullmatch(name):
        raise unreadable()
    return name, members if isinstance(members, dict) else {}


def unreadable() -> WireError:
    return WireError(
        StorageUnavailable,
        "the answer is incomplete, or not from S3",
        code="answer-not-s3",
        hint=NOT_THE_SERVICE,
    )


def decoded(members: Members) -> Members:
    """A listing, its names decoded where the service encoded them."""
    if members.get("EncodingType") != "url":
        return members
    return {name: _decoded(name, value) for name, value in members.items()}


def _decoded(name: str, value: Any) -> Any:
    if name in _NAMES and isinstance(value, str):
        return unquote_plus(value)
    if isinstance(value, list):
        return [
            {**item, **{n: unquote_plus(item[n]) for n in ("Key", "Prefix") if n in item}} for item in value
        ]
    return value


def _members(element: ElementTree.Element) -> Any:
    if not len(element):
        return element.text or ""
    found: Members = {}
    for child in element:
        name = _name(child)
        value = _value(name, child)
        if name in _LISTS:
            found.setdefault(_LISTS[name], []).append(value if isinstance(value, dict) else {})
        else:
            found[name] = value
    return found


def _value(name: str, element: ElementTree.Element) -> Any:
    value = _members(element)
    if not isinstance(value, str):
        return value
    if name in _TRUTHS:
        return value == "true"
    if name == "LastModified":
        return moment(value)
    if name == "Size":
        return int(value) if value.isascii() and value.isdecimal() else ""
    return value


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def moment(text: str) -> datetime | None:
    """Of a listing or a header; None where it is neither's form."""
    try:
        found = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def deletion(objects: Iterable[Mapping[str, str]]) -> bytes:
    """Of a batch of deletes; nothing is told of those that succeed."""
    listed = "".join(f"<Object>{''.join(_elements(entry))}</Object>" for entry in objects)
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}<Quiet>true</Quiet></Delete>'.encode()


def completion(parts: Iterable[Mapping[str, object]]) -> bytes:
    listed = "".join(f"<Part>{''.join(_elements(part))}</Part>" for part in parts)
    head = '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}{listed}</CompleteMultipartUpload>".encode()


def location(region: str) -> bytes:
    head = '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}<LocationConstraint>{_escaped(region)}</LocationConstraint></CreateBucketConfiguration>".encode()


def _elements(members: Mapping[str, object]) -> Iterator[str]:
    for name, value in members.items():
        yield f"<{name}>{_escaped(str(value))}</{name}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
