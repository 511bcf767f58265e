"""A storage whose etags are MD5 digests, as most object storages make them, and that tells no checksum beside them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

from mbk.ports.storage import ObjectInfo
from mbk.testing import MemoryStorage


class Digesting(MemoryStorage):
    """``salt``: what a service that encrypts makes its digests of, beside the object's bytes."""

    salt = b""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return map(self._digested, super().list(prefix, start_after=start_after))

    def stat(self, key: str) -> ObjectInfo:
        return self._digested(super().stat(key))

    def _digested(self, entry: ObjectInfo) -> ObjectInfo:
        data = self.salt + self.get(entry.key).data
        return dataclasses.replace(entry, etag=hashlib.md5(data).hexdigest(), checksums={})
