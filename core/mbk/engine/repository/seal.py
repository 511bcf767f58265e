"""How the metadata files of one commit vouch for each other.

``full_meta.json`` carries a mark that names the commit; ``mbk.json`` names the same commit, the digests of all other files,
the record of objects among them, and ends with a digest of itself. So none of them can be lost or changed unnoticed, and a
file of an older commit is not taken for one of this commit. See docs/reference/backup-format.md#what-belongs-together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from mbk.engine.repository import codec
from mbk.engine.transfer.digests import sure
from mbk.engine.transfer.same import digest
from mbk.errors import DamagedBackup
from mbk.model import layout
from mbk.model.manifest import FileDigest, Manifest
from mbk.ports.storage import ObjectInfo

#: The last member of the manifest: the digest of everything before it, closed by a brace.
_SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}$')
_COPY = "put the file back from a copy of the backup, use another backup, or restore with --salvage"
#: Everything else is read by what this file says.
_ONLY_COPY = "put the file back from a copy of the backup, or use another backup"


class Hashing:
    """Digests of chunks while they pass."""

    def __init__(self) -> None:
        self._size = 0
        # Neither is for security: they find damage.
        self._sha256 = hashlib.sha256(usedforsecurity=False)
        self._md5 = hashlib.md5(usedforsecurity=False)

    def add(self, chunk: bytes | bytearray) -> None:
        self._size += len(chunk)
        self._sha256.update(chunk)
        self._md5.update(chunk)

    def passing(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.add(chunk)
            yield chunk

    @property
    def digest(self) -> FileDigest:
        return FileDigest(size=self._size, sha256=self._sha256.hexdigest(), md5=self._md5.hexdigest())


def digest_of(chunks: Iterable[bytes | bytearray]) -> FileDigest:
    hashing = Hashing()
    for chunk in chunks:
        hashing.add(chunk)
    return hashing.digest


def is_of(digest: FileDigest, chunks: Iterable[bytes]) -> bool:
    """Whether these are the bytes of a digest. SHA-256 tells it alone: MD5 takes twice as long."""
    size, sha256 = 0, hashlib.sha256(usedforsecurity=False)
    for chunk in chunks:
        size += len(chunk)
        sha256.update(chunk)
    return (size, sha256.hexdigest()) == (digest.size, digest.sha256)


def seal(manifest: Manifest) -> bytes:
    """The bytes of ``mbk.json``. ``version`` is always written, so that there is something before the seal."""
    body = b'{"version":%d,%s' % (manifest.version, _members(manifest))
    return b'%s,"sha256":"%s"}' % (body[:-1], hashlib.sha256(body).hexdigest().encode())


def _members(manifest: Manifest) -> bytes:
    encoded = msgspec.json.encode(msgspec.structs.replace(manifest, version=1))
    return b'"tool":""}' if encoded == b"{}" else encoded[1:]


def unseal(data: bytes | bytearray, *, where: str) -> Manifest:
    """`DamagedBackup` if the bytes are not those that were written. Older manifests have no seal."""
    found = _SEAL.search(data)
    if found is not None:
        body = bytes(data[: found.start()]) + b"}"
        if hashlib.sha256(body).hexdigest().encode() != found[1]:
            raise differs(where)
    manifest = codec.decode(data, Manifest, where=where)
    if found is None and manifest.commit:
        raise differs(where)
    return manifest


def differs(where: str) -> DamagedBackup:
    return DamagedBackup(
        "{key} is damaged: it differs from what was written",
        code="metadata-differs",
        key=where,
        hint=_ONLY_COPY if where.endswith(layout.FULL_META) else _COPY,
    )


def lost(where: str) -> DamagedBackup:
    return DamagedBackup("{key} is missing", code="metadata-missing", key=where, hint=_COPY)


def suspects(
    files: Mapping[str, FileDigest], stored: Mapping[str, ObjectInfo], *, below: str
) -> Iterator[str]:
    """The files that nobody vouches for, although their size is right: only reading them tells.

    `DamagedBackup` for one that is missing, or has another size or checksum. An etag that differs may be one of encrypted bytes.
    """
    for name, recorded in files.items():
        present = stored.get(name)
        if present is None:
            raise lost(f"{below}{name}")
        if present.size != recorded.size:
            raise differs(f"{below}{name}")
        told = sure(present)
        same = [told[kind] == getattr(recorded, kind) for kind in ("sha256", "md5") if kind in told]
        if not all(same):
            raise differs(f"{below}{name}")
        if not same and digest(present.etag) != recorded.md5:
            yield name


def require_manifest(manifest: Manifest, stored: Mapping[str, ObjectInfo], *, below: str) -> None:
    """No record is written before the manifest that names it: `DamagedBackup` if a record is there without one."""
    if not manifest.commit and any(map(layout.is_record, stored)):
        raise (differs if layout.MANIFEST in stored else lost)(f"{below}{layout.MANIFEST}")
