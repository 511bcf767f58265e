"""What proves the body of a request on its way."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mbk.plugin.wire import Data
from mbk_s3.settings import S3Settings
from mbk_s3.signing import EMPTY, UNSIGNED

#: Below this size the digest that is signed costs less than all else of the request.
_SMALL = 256 * 1024


@dataclass(frozen=True, slots=True)
class Payload:
    """``signed`` is the body's SHA-256 or `UNSIGNED`; ``headers`` are sent with it."""

    signed: str
    headers: Mapping[str, str] = field(default_factory=dict)


_UNPROVEN = Payload(UNSIGNED)
_NOTHING = Payload(EMPTY)


def payloads_of(settings: S3Settings) -> Callable[..., Payload]:
    """How bodies of this storage are proven: ``payload(body, whole=)``, ``whole`` of an object in one request.

    TLS proves them already. Over plain HTTP the signature covers the SHA-256 of the body, which costs 0.7 s of CPU a GiB
    where the processor has instructions for it and 2.5 s where not; a CRC32C of a whole object, which the service checks and
    keeps, costs 0.1 s. Of parts it is asked for only by who announced it, and Amazon wants the signature's digest.
    """
    if settings.tls:
        return lambda body, *, whole=False: _UNPROVEN  # noqa: ARG005
    crc = None if settings.is_at_amazon else _crc32c()

    def payload(body: Data, *, whole: bool = False) -> Payload:
        if not body:
            return _NOTHING
        if crc is None or not whole or len(body) < _SMALL:
            return Payload(hashlib.sha256(body).hexdigest())
        return Payload(UNSIGNED, {"x-amz-checksum-crc32c": _base64(crc(bytes(body)).to_bytes(4, "big"))})

    return payload


def md5_of(body: bytes) -> str:
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
