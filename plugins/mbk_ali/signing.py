"""OSS's signatures of requests, V4 where the region is known and V1 where not, in headers.

help.aliyun.com: "Include a V4 signature in the Authorization header", "Include a V1 signature in the Authorization header".
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from mbk.plugin.buckets import Query, Sign, encoded
from mbk.plugin.headers import http_date
from mbk.plugin.roles import Keys

ALGORITHM = "OSS4-HMAC-SHA256"
#: The bytes of a body are not part of what is signed.
UNSIGNED = "UNSIGNED-PAYLOAD"
#: Of the query, what V1 signs of the requests that are made here.
SUBRESOURCES = frozenset({"continuation-token", "delete", "partNumber", "uploadId", "uploads"})


def signer(bucket: str, region: str, keys: Callable[[], Keys]) -> Sign:
    """``region`` empty: V1, which newer accounts refuse."""

    def sign(method: str, key: str, query: Query, headers: Mapping[str, str]) -> Mapping[str, str]:
        held = keys()
        token = {"x-oss-security-token": held.token} if held.token else {}
        given = {**headers, **token}
        path = f"/{bucket}/{key}"
        if region:
            added = signed_v4(held, region, method, path, query, given, int(time.time()))
        else:
            added = signed_v1(held, method, path, query, given, int(time.time()))
        return {**added, **token}

    return sign


def signed_v4(
    who: Keys,
    region: str,
    method: str,
    path: str,
    query: Query,
    headers: Mapping[str, str],
    at: int,
) -> dict[str, str]:
    """What is added to the headers. ``path`` is ``/bucket/key``, not encoded; ``at`` the time by the epoch."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    own = {"x-oss-date": stamp, "x-oss-content-sha256": UNSIGNED}
    fields = {name.lower(): value.strip() for name, value in {**headers, **own}.items()}
    signed = "".join([f"{name}:{fields[name]}\n" for name in sorted(fields) if _is_signed(name)])
    asked = encoded(sorted(query))
    canonical = f"{method}\n{quote(path, safe='/~')}\n{asked}\n{signed}\n\n{UNSIGNED}"
    scope = f"{stamp[:8]}/{region}/oss/aliyun_v4_request"
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(_signing_key(who.secret, stamp[:8], region), text.encode(), "sha256").hex()
    return {**own, "Authorization": f"{ALGORITHM} Credential={who.id}/{scope}, Signature={signature}"}


def signed_v1(
    who: Keys, method: str, path: str, query: Query, headers: Mapping[str, str], at: int
) -> dict[str, str]:
    """As `signed_v4`."""
    date = http_date(at)
    own = sorted((name.lower(), value) for name, value in headers.items() if name.startswith("x-oss-"))
    covered = sorted((name, value) for name, value in query if name in SUBRESOURCES)
    asked = "&".join([f"{name}={value}" if value else name for name, value in covered])
    text = "\n".join(
        [
            method,
            headers.get("Content-MD5", ""),
            headers.get("Content-Type", ""),
            date,
            *[f"{name}:{value}" for name, value in own],
            f"{path}?{asked}" if asked else path,
        ]
    )
    signature = base64.b64encode(hmac.digest(who.secret.encode(), text.encode(), "sha1")).decode()
    return {"Date": date, "Authorization": f"OSS {who.id}:{signature}"}


def _is_signed(name: str) -> bool:
    return name.startswith("x-oss-") or name in ("content-type", "content-md5")


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    """Good for a day; as many are kept as a run has storages and days at once."""
    key = f"aliyun_v4{secret}".encode()
    for text in (day, region, "oss", "aliyun_v4_request"):
        key = hmac.digest(key, text.encode(), "sha256")
    return key
