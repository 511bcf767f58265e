"""The XML of S3: documents that are sent, and what answers say, by the names of their elements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
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
_OF_SERVICE = re.compile(r"\w+Result|Error|InitiateMultipartUpload|Retention|ObjectLockConfiguration")
_NAMES = frozenset({"Key", "Prefix", "KeyMarker", "NextKeyMarker", "Delimiter", "StartAfter"})


def parsed(body: bytes) -> tuple[str, Members]:
    """The name of the document and its members. `WireError` where it is cut off, no XML, or none of S3."""
    try:
        # Whitespace keeps the connection alive while the service works.
        root = ElementTree.fromstring(body.strip())
    except (ElementTree.ParseError, ValueError):
        raise unreadable() from None
    name = _name(root.tag)
    if not _OF_SERVICE.fullmatch(name):
        raise unreadable()
    return name, _members(root)


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


def _members(element: ElementTree.Element) -> Members:
    found: Members = {}
    for child in element:
        name, plural, value_of = _role(child.tag)
        value: Any = _members(child) if len(child) else value_of(child.text or "")
        if plural:
            found.setdefault(plural, []).append(value if isinstance(value, dict) else {})
        else:
            found[name] = value
    return found


@lru_cache(maxsize=256)
def _role(tag: str) -> tuple[str, str, Callable[[str], Any]]:
    """The name of an element, that of the list which it is in (or empty), and what its text means.

    A page of a listing has seven thousand elements, of a dozen names.
    """
    name = _name(tag)
    return name, _LISTS.get(name, ""), _READERS.get(name, str)


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def moment(text: str) -> datetime | None:
    """Of a listing or a header; None where it is neither's form."""
    try:
        found = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _size(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else ""


def _truth(text: str) -> bool:
    return text == "true"


#: Other texts are what they say.
_READERS: dict[str, Callable[[str], Any]] = {
    "IsTruncated": _truth,
    "IsLatest": _truth,
    "LastModified": moment,
    "RetainUntilDate": moment,
    "Size": _size,
}


def deletion(objects: Iterable[Mapping[str, str]]) -> bytes:
    """Of a batch of deletes; nothing is told of those that succeed."""
    listed = "".join(f"<Object>{''.join(_elements(entry))}</Object>" for entry in objects)
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}<Quiet>true</Quiet></Delete>'.encode()


def completion(parts: Iterable[Mapping[str, object]]) -> bytes:
    listed = "".join(f"<Part>{''.join(_elements(part))}</Part>" for part in parts)
    head = '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}{listed}</CompleteMultipartUpload>".encode()


def retention(members: Mapping[str, object]) -> bytes:
    head = '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}{''.join(_elements(members))}</Retention>".encode()


def location(region: str) -> bytes:
    head = '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}<LocationConstraint>{_escaped(region)}</LocationConstraint></CreateBucketConfiguration>".encode()


def _elements(members: Mapping[str, object]) -> Iterator[str]:
    for name, value in members.items():
        yield f"<{name}>{_escaped(str(value))}</{name}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
