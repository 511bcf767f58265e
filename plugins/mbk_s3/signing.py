"""Signatures of version 4 over header fields.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

ALGORITHM = "AWS4-HMAC-SHA256"
#: Instead of a digest of the body: it is not part of what is signed.
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY = sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with; ``token`` is empty but for temporary keys."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


def signed(
    keys: Keys,
    region: str,
    *,
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    payload: str,
    at: float,
) -> dict[str, str]:
    """The headers of the request, those of the signature among them, but for Host.

    ``path`` and ``query`` as they are sent, the query sorted and each name with a ``=``. ``payload`` is the SHA-256 of the
    body or `UNSIGNED`, ``at`` the time by the epoch.
    """
    now = _stamp(int(at))
    own = {"x-amz-content-sha256": payload, "x-amz-date": now}
    if keys.token:
        own["x-amz-security-token"] = keys.token
    fields = {
        "host": host,
        **{name.lower(): " ".join(value.split()) for name, value in headers.items()},
        **own,
    }
    names = sorted(fields)
    listed = ";".join(names)
    canonical = "\n".join(
        [method, path, query, *[f"{name}:{fields[name]}" for name in names], "", listed, payload]
    )
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = f"{ALGORITHM}\n{now}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(keys.secret_key, now[:8], region)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={keys.access_key}/{scope}"
    return {
        **headers,
        **own,
        "Authorization": f"{ALGORITHM} {credential}, SignedHeaders={listed}, Signature={signature}",
    }


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    """Good for a day; as many are kept as a run has storages and days at once."""
    key = f"AWS4{secret}".encode()
    for text in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, text.encode(), "sha256")
    return key


@lru_cache(maxsize=2)
def _stamp(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
