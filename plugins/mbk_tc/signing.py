"""COS's signature of requests, in headers: cloud.tencent.com, "Request signature" (436/7778)."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha1
from urllib.parse import quote

from mbk.plugin.buckets import Query, Sign
from mbk.plugin.roles import Keys

#: Seconds that a signature holds, and that it holds before now: the clocks of two machines may differ.
VALID = 10_000
EARLY = 60
_SIGNED = ("content-md5", "content-type", "range")


def signer(host: str, keys: Callable[[], Keys]) -> Sign:
    """``host`` is the value of the Host header, empty where that is not signed."""

    def sign(method: str, key: str, query: Query, headers: Mapping[str, str]) -> Mapping[str, str]:
        held = keys()
        token = {"x-cos-security-token": held.token} if held.token else {}
        fields = {name.lower(): value for name, value in {**headers, **token}.items()}
        signed = {name: value for name, value in fields.items() if _is_signed(name)}
        if host:
            signed["host"] = host
        # For a minute the same, so that the key is derived once.
        begin = int(time.time()) // EARLY * EARLY - EARLY
        value = authorization(held, method, key, query, signed, f"{begin};{begin + VALID}")
        return {**token, "Authorization": value}

    return sign


def authorization(
    keys: Keys, method: str, key: str, query: Query, headers: Mapping[str, str], when: str
) -> str:
    """``headers`` by lower-case names: all of them are signed. ``when``: two times by the epoch."""
    asked = sorted((_quoted(name).lower(), _quoted(value)) for name, value in query)
    told = sorted((_quoted(name), _quoted(value)) for name, value in headers.items())
    document = f"{method.lower()}\n/{key}\n{_joined(asked)}\n{_joined(told)}\n"
    text = f"sha1\n{when}\n{sha1(document.encode(), usedforsecurity=False).hexdigest()}\n"
    signature = hmac.digest(_signing_key(keys.secret, when), text.encode(), "sha1").hex()
    return (
        f"q-sign-algorithm=sha1&q-ak={keys.id}&q-sign-time={when}&q-key-time={when}"
        f"&q-header-list={_names(told)}&q-url-param-list={_names(asked)}&q-signature={signature}"
    )


def _is_signed(name: str) -> bool:
    return name.startswith("x-cos-") or name in _SIGNED


def _quoted(text: str) -> str:
    return quote(text, safe="~")


def _joined(pairs: list[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in pairs])


def _names(pairs: list[tuple[str, str]]) -> str:
    return ";".join([name for name, _ in pairs])


@lru_cache(maxsize=8)
def _signing_key(secret: str, when: str) -> bytes:
    return hmac.digest(secret.encode(), when.encode(), "sha1").hex().encode()
