"""What proves the body of a request on its way."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from mbk.errors import TransferInterrupted
from mbk.plugin.refusals import Refused
from mbk.plugin.wire import Data
from mbk_s3.errors import BY_CODE
from mbk_s3.settings import S3Settings
from mbk_s3.signing import EMPTY, UNSIGNED

#: Below this size the digest that is signed costs less than all else of the request.
_SMALL = 256 * 1024
_CRC = "x-amz-checksum-crc32c"


@dataclass(frozen=True, slots=True)
class Payload:
    """``signed`` is the body's SHA-256 or `UNSIGNED`; ``headers`` are sent with it."""

    signed: str
    headers: Mapping[str, str] = field(default_factory=dict)


_UNPROVEN = Payload(UNSIGNED)
_NOTHING = Payload(EMPTY)


class Payloads:
    """How bodies of this storage are proven. It learns what the service wants and what it does not take. From any thread.

    TLS proves them already. Over plain HTTP the signature covers the SHA-256 of the body, which costs 0.7 s of CPU a GiB
    where the processor has instructions for it and 2.5 s where not; a CRC32C of a whole object, which the service checks and
    keeps, costs 0.1 s. Of parts it is asked for only by who announced it, and Amazon wants the signature's digest.

    A bucket that locks objects by default wants a digest in a header of each object and part: an MD5, which every service
    knows, though it costs 1.6 s a GiB.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._is_plain = not settings.tls
        self._crc = None if settings.tls or settings.is_at_amazon else _crc32c()
        self._wants_md5 = False

    def of(self, body: Data, *, whole: bool = False) -> Payload:
        """``whole``: of an object in one request."""
        if not body:
            return _NOTHING if self._is_plain else _UNPROVEN
        crc = self._crc
        if crc is not None and whole and len(body) >= _SMALL:
            return Payload(UNSIGNED, {_CRC: _base64(crc(bytes(body)).to_bytes(4, "big"))})
        return Payload(hashlib.sha256(body).hexdigest()) if self._is_plain else _UNPROVEN

    def of_object(self, body: Data, *, whole: bool = False) -> Payload:
        """As `of`, of an object or a part."""
        payload = self.of(body, whole=whole)
        if not self._wants_md5 or payload.headers:
            return payload
        return Payload(payload.signed, {"Content-MD5": md5_of(body)})

    def learns(self, refusal: Refused, payload: Payload) -> bool:
        """Whether the service may take the same body with another proof, which it is given from now on; of each kind once."""
        if _CRC in payload.headers and _is_not_known(refusal):
            self._crc = None
            return True
        if not payload.headers and _is_wanted(refusal):
            self._wants_md5 = True
            return True
        return False


def _is_not_known(refusal: Refused) -> bool:
    return refusal.status == HTTPStatus.NOT_IMPLEMENTED or (
        refusal.status == HTTPStatus.BAD_REQUEST and BY_CODE.get(refusal.code) is not TransferInterrupted
    )


def _is_wanted(refusal: Refused) -> bool:
    """Amazon's words, with and without its newer digests: "Content-MD5 HTTP header is required for …"."""
    return refusal.status == HTTPStatus.BAD_REQUEST and "content-md5" in refusal.message.lower()


def md5_of(body: Data) -> str:
    """The value of Content-MD5."""
    return _base64(hashlib.md5(body, usedforsecurity=False).digest())


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _crc32c() -> Callable[[bytes], int] | None:
    """None where no fast one is installed."""
    try:
        import google_crc32c
    except ImportError:
        return None
    if google_crc32c.implementation != "c":
        return None
    value: Callable[[bytes], int] = google_crc32c.value
    return value
