"""Requests to a bucket of a service that takes a signature in headers and answers in XML, for wires of such services.

They have in common what is here: parts, batches of deletes, listings in which names are encoded as in URLs, a copy that
begins to answer before it is done. What differs stays with the vendors: signatures, names of headers, conditions.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from hashlib import md5
from typing import TypeAlias
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from mbk.errors import TransferInterrupted
from mbk.frozen import frozen
from mbk.plugin.conditions import answer_foreign, answer_unreadable, require_empty
from mbk.plugin.headers import class_of, required
from mbk.plugin.http import FIRST_BYTE, Answer, Sender, body_of, size_of
from mbk.plugin.refusals import Refused, refused
from mbk.plugin.wire import Body, Data, Marker, Page, Part, Unfinished, Upload, WireError, bare
from mbk.ports.storage import ObjectInfo, WriteOptions

#: Names and values that are not encoded yet; an empty value stands for a name alone.
Query: TypeAlias = Sequence[tuple[str, str]]
#: From method, key ("" for the bucket's own requests), query and headers to what the signature adds to the headers.
Sign: TypeAlias = Callable[[str, str, Query, Mapping[str, str]], Mapping[str, str]]
Element: TypeAlias = ElementTree.Element

CONTENT_TYPE = "application/octet-stream"
_NONE: Mapping[str, str] = {}


@frozen(kw_only=True)
class BucketRequests:
    """``path`` comes before the keys, ``/`` or ``/bucket/``; ``encode`` makes a path of a key. Thread-safe.

    ``mark``: a header of every answer of the service. ``refused`` reads an answer of an error. Every method raises what it returns, and what the sender raises.
    """

    sender: Sender
    path: str
    encode: Callable[[str], str]
    sign: Sign
    mark: str
    refused: Callable[[Answer], Refused]

    def send(
        self,
        method: str,
        key: str,
        query: Query = (),
        headers: Mapping[str, str] = _NONE,
        body: Data = b"",
        *,
        streamed: bool = False,
        repeatable: bool | None = None,
    ) -> Answer:
        """An answer of success. ``key`` empty: the bucket's."""
        target = self.path + self.encode(key)
        if query:
            target = f"{target}?{encoded(query)}"
        signed = {"User-Agent": "mbk", **headers, **self.sign(method, key, query, headers)}
        return self.checked(
            self.sender.send(method, target, signed, body, streamed=streamed, repeatable=repeatable)
        )

    def checked(self, answer: Answer) -> Answer:
        """The same, if it is one of success and the service's own; whoever sent the request."""
        if answer.status < 300:
            if self.mark in answer.headers:
                return answer
            if answer.stream is not None:
                answer.stream.close()
            raise answer_foreign(self.mark)
        said = self.refused(answer)
        if answer.status < 400 and not said.message:
            # By the name that `mbk.plugin.refusals` has a hint for.
            raise Refused(answer.status, "TooManyRedirects", "the service redirects to another endpoint")
        raise said

    def page(self, following: str, query: Query) -> Page:
        """Of a listing; ``following`` is the element that names the next one. Empty values of the query are left out."""
        asked = [("encoding-type", "url"), *(pair for pair in query if pair[1])]
        listing = result(self.send("GET", "", asked))
        name = _names(listing)
        told = texts(listing)
        truncated = told.get("IsTruncated")
        if truncated not in ("true", "false") or (truncated == "true" and not told.get(following)):
            raise WireError(TransferInterrupted, "the answer is incomplete", code="answer-incomplete")
        return Page(
            objects=[_listed(texts(item), name) for item in listing.iterfind("Contents")],
            prefixes=[name(required(texts(item), "Prefix")) for item in listing.iterfind("CommonPrefixes")],
            next=name(told[following]) if truncated == "true" else "",
        )

    def get(self, key: str, span: str, headers: Mapping[str, str]) -> Body | None:
        """``span`` as `mbk.plugin.headers.byte_range` has it; None where the object ends before it."""
        asked = {**headers, "Range": span} if span else headers
        try:
            answer = self.send("GET", key, headers=asked, streamed=True)
        except Refused as exc:
            if exc.name in ("InvalidRange", "416"):
                return None
            raise
        return body_of(answer, span)

    def size(self, key: str, headers: Mapping[str, str]) -> int:
        """Of an object, where the answer to a HEAD tells none."""
        try:
            answer = self.send("GET", key, headers={**headers, "Range": FIRST_BYTE}, streamed=True)
        except Refused as exc:
            if exc.name in ("InvalidRange", "416"):
                return 0
            raise
        return size_of(answer)

    def put(self, key: str, data: bytes, headers: Mapping[str, str], *, repeatable: bool) -> Answer:
        typed = {"Content-Type": CONTENT_TYPE, **headers}
        answer = self.send("PUT", key, headers=typed, body=data, repeatable=repeatable)
        required(answer.headers, "ETag")
        return answer

    def start(self, key: str, headers: Mapping[str, str]) -> str:
        """The id of a new upload. One whose answer is lost is dropped with all that are unfinished."""
        typed = {"Content-Type": CONTENT_TYPE, **headers}
        answer = self.send("POST", key, [("uploads", "")], typed, repeatable=True)
        return str(required(texts(result(answer)), "UploadId"))

    def part(
        self, upload: Upload, number: int, data: Data = b"", headers: Mapping[str, str] = _NONE
    ) -> Answer:
        """A part of these bytes, or of what the headers name."""
        query = [("partNumber", str(number)), ("uploadId", upload.id)]
        return self.send("PUT", upload.key, query, headers, data, repeatable=True)

    def complete(self, upload: Upload, parts: Sequence[Part], headers: Mapping[str, str]) -> Answer:
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag></Part>"
            for part in parts
        )
        document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        typed = {"Content-Type": "application/xml", **headers}
        return self.send("POST", upload.key, [("uploadId", upload.id)], typed, document)

    def abort(self, upload: Upload) -> None:
        require_empty(self.send("DELETE", upload.key, [("uploadId", upload.id)], repeatable=True))

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        asked = [
            ("prefix", prefix),
            ("key-marker", marker[0]),
            ("upload-id-marker", marker[1]),
            ("encoding-type", "url"),
        ]
        listing = result(self.send("GET", "", [("uploads", ""), *(pair for pair in asked if pair[1])]))
        name, told = _names(listing), texts(listing)
        uploads = [texts(item) for item in listing.iterfind("Upload")]
        following = name(told.get("NextKeyMarker", "")), told.get("NextUploadIdMarker", "")
        return Unfinished(
            uploads=[(name(required(item, "Key")), required(item, "UploadId")) for item in uploads],
            next=following if required(told, "IsTruncated") == "true" else None,
        )

    def remove(self, key: str) -> None:
        require_empty(self.send("DELETE", key, repeatable=True))

    def delete(self, keys: Sequence[str], *, quiet: bool, query: Query = ()) -> Answer:
        """``quiet``: the service tells only of those that it could not delete."""
        listed = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        told = "true" if quiet else "false"
        document = f"<Delete><Quiet>{told}</Quiet>{listed}</Delete>".encode()
        # The services insist on it.
        digest = base64.b64encode(md5(document, usedforsecurity=False).digest()).decode()
        headers = {"Content-Type": "application/xml", "Content-MD5": digest}
        return self.send("POST", "", [("delete", ""), *query], headers, document, repeatable=True)


class BucketWire:
    """The part of an `mbk.plugin.wire.Wire` that needs no words of the vendor's. ``made`` makes its requests, and sends nothing."""

    def __init__(self, made: Callable[[], BucketRequests]) -> None:
        self._made = made

    @cached_property
    def requests(self) -> BucketRequests:
        return self._made()

    def open(self) -> None:
        _ = self.requests

    def close(self) -> None:
        if "requests" in vars(self):
            self.requests.sender.close()

    def abort(self, upload: Upload) -> bool:
        self.requests.abort(upload)
        return True

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        return self.requests.unfinished(prefix, marker)

    def delete(self, key: str) -> None:
        self.requests.remove(key)


def encoded(query: Query) -> str:
    return "&".join([f"{name}={quote(value, safe='~')}" if value else name for name, value in query])


def parsed(content: bytes) -> Element:
    """`WireError` where it is cut off, or no XML."""
    try:
        # White space keeps the connection alive while a service works.
        root = ElementTree.fromstring(content.strip())
    except ElementTree.ParseError as exc:
        raise answer_unreadable("XML") from exc
    if "}" in root.tag:
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    return root


def result(answer: Answer) -> Element:
    """The document of an answer of success, which may be one of an error all the same: the answer began before the work."""
    root = parsed(answer.content)
    if root.tag == "Error":
        raise refused(answer)
    if not root.tag.endswith("Result"):
        raise answer_unreadable("a result")
    return root


def texts(element: Element) -> dict[str, str]:
    """What its elements say, by their names."""
    return {child.tag: child.text or "" for child in element}


def written_with(options: WriteOptions, prefix: str, *, by: str, named: str) -> dict[str, str]:
    """Headers of an object that is made, in one request or in parts.

    ``prefix`` is that of the vendor's own headers, ``by`` its word for encrypting with a key, ``named`` the header that
    names it.
    """
    asked = {}
    if options.storage_class:
        asked[f"{prefix}storage-class"] = options.storage_class
    if options.encryption_key:
        asked[f"{prefix}server-side-encryption"] = by
        asked[f"{prefix}{named}"] = options.encryption_key
    if options.tags:
        asked[f"{prefix}tagging"] = urlencode(options.tags, quote_via=quote)
    return asked


def _names(listing: Element) -> Callable[[str], str]:
    """Reads the names of a listing: XML cannot contain every character."""
    return unquote if listing.findtext("EncodingType") == "url" else str


def _listed(item: Mapping[str, str], name: Callable[[str], str]) -> ObjectInfo:
    return ObjectInfo(
        name(required(item, "Key")),
        int(required(item, "Size")),
        bare(item.get("ETag")),
        datetime.fromisoformat(required(item, "LastModified")),
        storage_class=class_of(item.get("StorageClass")),
    )
