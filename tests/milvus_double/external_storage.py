"""The storages that a server reaches by a URI and an ``external_spec``: its own service, with its own keys or given ones.

Sources: milvus ``pkg/util/externalspec`` (JSON with text values only), ``internal/snapshotio/storage/resolver.go`` (schemes;
another provider or endpoint is refused).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from mbk.ports.storage import Storage
from mbk.testing.memory import MemoryStorage
from tests.milvus_double.refusal import Refused, invalid

#: Scheme -> the provider family, as ``Location.backend`` of mbk's plugins names it.
S3_SCHEMES = frozenset({"s3", "minio", "aws"})
_S3_PROVIDERS = frozenset({"aws", "minio", "gcp", "tencent", "aliyun", "huawei"})
_KNOWN = frozenset(
    {
        "cloud_provider",
        "use_ssl",
        "region",
        "access_key_id",
        "access_key_value",
        "use_iam",
        "iam_endpoint",
        "credential_json",
    }
)
_URI = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<rest>[^?#]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """An open storage and a key in it. ``uri`` is the canonical one."""

    storage: Storage
    key: str
    uri: str


@dataclass(slots=True)
class ExternalStorages:
    """What the server with ``own`` storage reaches. ``aliases``: other names of its own endpoint, ``host:port``.

    ``canonical``: whether URIs come back with the endpoint in them, as servers may give them.
    """

    own: Storage
    aliases: set[str] = field(default_factory=set)
    canonical: bool = False
    known: list[Storage] = field(default_factory=list)

    def place(self, uri: str, spec: str) -> Place:
        """`Refused` for what the server cannot read, or may not reach."""
        found = _URI.fullmatch(uri)
        if found is None:
            raise invalid(f"invalid snapshot uri {uri!r}: no query and no fragment are allowed")
        extfs = _extfs(spec)
        endpoint, bucket, key = self._parts(found["scheme"], found["rest"])
        if not bucket or not key:
            raise invalid(f"invalid snapshot uri {uri!r}: it names no bucket or no key")
        location = self.own.location
        if endpoint and endpoint not in {location.endpoint, *self.aliases}:
            raise invalid(f"snapshot storage {endpoint} is another endpoint than {location.endpoint}")
        storage = self._open(bucket, extfs)
        return Place(storage, key.strip("/"), self._uri(found["scheme"], bucket, key))

    def _parts(self, scheme: str, rest: str) -> tuple[str, str, str]:
        """Endpoint ("" for the own one), bucket, key; the provider has to be that of the own storage."""
        backend = self.own.location.backend
        if scheme in S3_SCHEMES:
            self._same_provider(scheme, backend in ("s3", "memory"))
            head, _, tail = rest.partition("/")
            if ":" in head or (scheme == "minio" and "/" in tail):
                bucket, _, key = tail.partition("/")
                return head, bucket, key
            return "", head, tail
        if scheme == "azure":
            self._same_provider(scheme, backend == "azure")
            _, _, tail = rest.partition("/")
            bucket, _, key = tail.partition("/")
            return "", bucket, key
        self._same_provider(scheme, scheme in ("gcs", "gs") and backend in ("gcs", "gcpnative"))
        bucket, _, key = rest.partition("/")
        return "", bucket, key

    def _same_provider(self, scheme: str, same: bool) -> None:
        if not same:
            raise invalid(f"snapshots cannot go from {self.own.location.backend} to a storage of {scheme}")

    def _open(self, bucket: str, extfs: dict[str, str]) -> Storage:
        for storage in (self.own, *self.known):
            if storage.location.bucket == bucket and not extfs.get("access_key_id"):
                return storage
        if isinstance(self.own, MemoryStorage):
            return MemoryStorage(self.own.service, bucket)
        # A vendor's storage is made of its settings, by its plugin; the port does not say so.
        wire: Any = getattr(self.own, "wrapped", None)
        settings: Any = getattr(wire, "settings", None)
        if settings is None:
            raise invalid(f"bucket {bucket} cannot be reached")
        changed: dict[str, object] = {"bucket": bucket, "root": ""}
        if extfs.get("access_key_id"):
            changed["access_key_id"] = extfs["access_key_id"]
            changed["secret_access_key"] = type(settings.secret_access_key)(extfs.get("access_key_value", ""))
        plugin: Any = import_module(f"{type(wire).__module__.partition('.')[0]}.storage")
        opened: Storage = plugin.open_storage(settings.model_copy(update=changed))
        self.known.append(opened)
        return opened

    def _uri(self, scheme: str, bucket: str, key: str) -> str:
        if self.canonical and scheme in S3_SCHEMES:
            return f"minio://{self.own.location.endpoint}/{bucket}/{key}"
        return f"{scheme}://{bucket}/{key}"

    def close(self) -> None:
        for storage in self.known:
            storage.close()


def _extfs(spec: str) -> dict[str, str]:
    if not spec:
        return {}
    try:
        extfs = json.loads(spec)["extfs"]
        texts = all(isinstance(value, str) for value in extfs.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise invalid("external_spec is no JSON object with extfs") from None
    if not texts:
        raise invalid("external_spec: every value of extfs has to be a string")
    if unknown := sorted(set(extfs) - _KNOWN):
        raise invalid(f"external_spec: unknown keys {unknown}")
    if extfs.get("cloud_provider") not in _S3_PROVIDERS | {"gcpnative", "azure"}:
        raise invalid("external_spec: cloud_provider is missing or unknown")
    if extfs.get("use_ssl", "false") not in ("true", "false"):
        raise invalid("external_spec: use_ssl is neither true nor false")
    ways = [bool(extfs.get(key)) for key in ("access_key_id", "use_iam", "credential_json")]
    if sum(ways) != 1:
        raise Refused("external_spec: exactly one way to log in is needed", code=1100)
    return dict(extfs)
