"""Answers of a service from which a member is missing, or says what it cannot say: read without it, or one clear line.

Proxies drop headers, gateways leave elements out. For each vendor a good answer of each kind, and then the same with each
of its members left out, empty, and absurd.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pytest

from mbk.errors import MbkError
from mbk.ports.storage import Storage
from tests.servers.process import HOST
from tests.servers.scripted import answer, scripted
from tests.unit.services.test_impostors import CALLS, STORAGES

ABSURD = "it is, was, or will be"
WHEN = "Mon, 30 Nov 2026 15:42:18 GMT"
ETAG = '"9a0364b9e99bb480dd25e1f0284c8555"'


@dataclass(frozen=True)
class Good:
    """An answer of success: ``headers`` and ``body`` with their members, of which each may be left out."""

    headers: tuple[tuple[str, str], ...]
    body: str = ""
    status: str = "200 OK"
    #: As a HEAD has it: a length, and no body.
    bodiless: bool = False

    def sent(self) -> bytes:
        lines = [f"{name}: {value}" for name, value in self.headers]
        return answer(self.body.encode(), *lines, status=self.status, length=not self.bodiless)

    def worse(self) -> Iterator[tuple[str, Good]]:
        for at, (name, _) in enumerate(self.headers):
            rest = (self.headers[:at], self.headers[at + 1 :])
            yield f"without {name}", self._with((*rest[0], *rest[1]))
            for value in ("", ABSURD):
                yield f"{name}: {value}", self._with((*rest[0], (name, value), *rest[1]))
        for member in _MEMBER.finditer(self.body):
            begin, end = member.span()
            for what, text in (
                ("without", ""),
                ("empty", self._emptied(member)),
                ("absurd", self._absurd(member)),
            ):
                body = self.body[:begin] + text + self.body[end:]
                yield f"{what} {member[0]}", Good(self.headers, body, self.status, self.bodiless)

    def _with(self, headers: tuple[tuple[str, str], ...]) -> Good:
        return Good(headers, self.body, self.status, self.bodiless)

    @staticmethod
    def _emptied(member: re.Match[str]) -> str:
        return f"<{member[1]}></{member[1]}>" if member[1] else f'"{member[3]}":""'

    @staticmethod
    def _absurd(member: re.Match[str]) -> str:
        return f"<{member[1]}>{ABSURD}</{member[1]}>" if member[1] else f'"{member[3]}":"{ABSURD}"'


#: An element without elements of its own, or a member of an object with a text or a number.
_MEMBER = re.compile(r'<(\w+)>([^<]*)</\1>|"(\w+)":("[^"]*"|\d+|true|false)')


def listing(contents: str) -> str:
    return (
        "<ListBucketResult><Name>bucket</Name><Prefix>p/</Prefix><IsTruncated>false</IsTruncated>"
        f"<EncodingType>url</EncodingType>{contents}</ListBucketResult>"
    )


CONTENTS = (
    f"<Contents><Key>p/k</Key><LastModified>2026-11-30T15:42:18.000Z</LastModified><ETag>{ETAG}</ETag>"
    "<Size>4</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
LEVEL = "<CommonPrefixes><Prefix>p/q/</Prefix></CommonPrefixes>"


def of_buckets(mark: tuple[str, str], crc: str) -> dict[str, Good]:
    """The answers of the services whose protocols are like S3's."""
    xml = ("Content-Type", "application/xml")
    told = (mark, ("ETag", ETAG), ("Last-Modified", WHEN), (crc, "123456789"))
    copied = f"<CopyObjectResult><ETag>{ETAG}</ETag><LastModified>2026-11-30T15:42:18.000Z</LastModified></CopyObjectResult>"
    return {
        "list": Good((mark, xml), listing(CONTENTS)),
        "list level": Good((mark, xml), listing(CONTENTS + LEVEL)),
        "stat": Good((*told, ("Content-Length", "4")), bodiless=True),
        "read": Good(told, "data"),
        "write": Good(told),
        "copy": Good((mark, xml, (crc, "123456789")), copied),
        "delete many": Good(
            (mark, xml),
            "<DeleteResult><Deleted><Key>k</Key></Deleted><Deleted><Key>l</Key></Deleted></DeleteResult>",
        ),
        "clean": Good(
            (mark, xml),
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
        ),
    }


BLOB = (
    "<Blob><Name>p/k</Name><Properties><Last-Modified>Mon, 30 Nov 2026 15:42:18 GMT</Last-Modified><Etag>0x8D</Etag>"
    "<Content-Length>4</Content-Length><Content-MD5>jXd/OF09/siBXSD3SWAm3A==</Content-MD5><AccessTier>Hot</AccessTier>"
    "<AccessTierInferred>true</AccessTierInferred></Properties></Blob>"
)
AZURE = ("x-ms-request-id", "1-2-3")
AZURE_OBJECT = (
    AZURE,
    ("ETag", '"0x8D"'),
    ("Last-Modified", WHEN),
    ("Content-MD5", "jXd/OF09/siBXSD3SWAm3A=="),
    ("x-ms-access-tier", "Hot"),
)
RESOURCE = (
    '{"name":"p/k","size":"4","updated":"2026-11-30T15:42:18.000Z","etag":"CJ","crc32c":"AAAAAA==",'
    '"md5Hash":"jXd/OF09/siBXSD3SWAm3A==","storageClass":"STANDARD"}'
)
JSON = ("Content-Type", "application/json")

ANSWERS: dict[str, dict[str, Good]] = {
    "s3": of_buckets(("x-amz-request-id", "1"), "x-amz-checksum-crc64nvme"),
    "ali": of_buckets(("x-oss-request-id", "1"), "x-oss-hash-crc64ecma"),
    "tc": of_buckets(("x-cos-request-id", "1"), "x-cos-hash-crc64ecma"),
    "azure": {
        "list": Good(
            (AZURE,),
            f"<EnumerationResults><Blobs>{BLOB}</Blobs><NextMarker></NextMarker></EnumerationResults>",
        ),
        "stat": Good((*AZURE_OBJECT, ("Content-Length", "4")), bodiless=True),
        "read": Good(AZURE_OBJECT, "data"),
        "write": Good(AZURE_OBJECT, status="201 Created"),
        "copy": Good((*AZURE_OBJECT, ("x-ms-copy-status", "success")), status="202 Accepted"),
    },
    "gcp": {
        "list": Good((JSON,), f'{{"kind":"storage#objects","items":[{RESOURCE}],"prefixes":["p/q/"]}}'),
        "stat": Good((JSON,), RESOURCE),
        "read": Good((("x-goog-hash", "crc32c=rth90Q==,md5=jXd/OF09/siBXSD3SWAm3A=="),), "data"),
        "write": Good((JSON,), RESOURCE),
        "copy": Good(
            (JSON,),
            f'{{"kind":"storage#rewriteResponse","done":true,"totalBytesRewritten":"4","resource":{RESOURCE}}}',
        ),
    },
}
CASES = [(vendor, call) for vendor, calls in ANSWERS.items() for call in calls]


def outcome(vendor: str, call: str, replies: Sequence[bytes]) -> str:
    """Empty where the call succeeds, else what is told. Whatever is not an error of ours passes."""
    with scripted(replies) as server:
        where: dict[str, object] = {
            "address": HOST,
            "port": server.port,
            "use_ssl": False,
            "bucket": "bucket",
        }
        with closing(STORAGES[vendor](where)) as storage:
            try:
                _CALLS[call](storage)
            except MbkError as error:
                return error.message
    return ""


_CALLS: dict[str, Callable[[Storage], object]] = CALLS


@pytest.mark.parametrize(("vendor", "call"), CASES)
def test_each_member_may_be_missing_or_absurd(vendor: str, call: str) -> None:
    good = ANSWERS[vendor][call]
    assert outcome(vendor, call, [good.sent()] * 9) == ""
    for what, worse in good.worse():
        try:
            outcome(vendor, call, [worse.sent()] * 9)
        except Exception as exc:  # noqa: BLE001 - whichever it is, it is not one of ours
            pytest.fail(f"{what}: {exc!r}")


@pytest.mark.parametrize("size", [0, 4])
@pytest.mark.parametrize("vendor", ["s3", "ali", "tc", "azure"])
def test_where_a_proxy_dropped_the_length_it_is_asked_for_by_a_range(vendor: str, size: int) -> None:
    head = ANSWERS[vendor]["stat"]
    bare = Good(tuple(pair for pair in head.headers if pair[0] != "Content-Length"), bodiless=True)
    first = Good((*bare.headers, ("Content-Range", f"bytes 0-0/{size}")), "d", status="206 Partial Content")
    none = Good(bare.headers, status="416 Range Not Satisfiable")
    with scripted([bare.sent(), (first if size else none).sent()]) as server:
        where: dict[str, object] = {
            "address": HOST,
            "port": server.port,
            "use_ssl": False,
            "bucket": "bucket",
        }
        with closing(STORAGES[vendor](where)) as storage:
            assert storage.stat("k").size == size
