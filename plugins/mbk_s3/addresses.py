"""Which host is asked for the objects of a bucket, and below which path: by path or by virtual host, as the SDK chooses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from mbk.plugin.http import Origin
from mbk_s3.settings import S3Settings

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_IP = re.compile(r"[0-9.]+|.*:.*")
#: What a path keeps as it is, beside letters and digits.
SAFE = "-._~/"
#: Keys of binlogs are nothing else; to see that costs a third of encoding them.
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]*")


@dataclass(frozen=True, slots=True)
class Address:
    """``path`` is what comes before the key: ``/`` or ``/bucket/``; ``bucket_path`` that of the bucket itself."""

    origin: Origin
    path: str

    @property
    def bucket_path(self) -> str:
        return self.path.rstrip("/") or "/"

    def of(self, key: str) -> str:
        return f"{self.path}{encoded(key)}"


def encoded(path: str) -> str:
    """As it stands in a URL."""
    return path if _PLAIN.fullmatch(path) else quote(path, safe=SAFE)


def address_of(settings: S3Settings, region: str | None = None) -> Address:
    """``region``: another one than the settings', which changes the host of Amazon's own endpoints."""
    host = settings.host
    if region is not None and settings.is_at_amazon:
        host = host.replace(settings.signing_region, region)
    port = int(settings.endpoint.rpartition(":")[2])
    if settings.addressing_style == "virtual" and _can_be_host(settings.bucket, host, tls=settings.tls):
        return Address(Origin(host=f"{settings.bucket}.{host}", port=port, tls=settings.tls), "/")
    return Address(Origin(host=host, port=port, tls=settings.tls), f"/{quote(settings.bucket, safe='-._~')}/")


def _can_be_host(bucket: str, host: str, *, tls: bool) -> bool:
    """With TLS, a dot in the bucket would not match the certificate."""
    if len(bucket) < 3 or _IP.fullmatch(bucket) or _IP.fullmatch(host):
        return False
    labels = bucket.split(".") if not tls else [bucket]
    return all(_LABEL.fullmatch(label) for label in labels)
