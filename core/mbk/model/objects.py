"""What a backup knows of each of its objects. See docs/reference/backup-format.md#the-record-of-objects."""

from __future__ import annotations

import msgspec


class ObjectRecord(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """One object of a backup; ``key`` is relative to the backup's prefix, that of a shared backup to the pool; ``size`` in
    bytes.

    ``etag``: what the storage told when the record was made; it says nothing of a copy elsewhere. ``digests``: kind (as in
    :data:`mbk.ports.storage.CHECKSUMS`) -> lower-case hexadecimal digest of the bytes. ``source``: the etag that Milvus' storage
    told of the object when it was copied, of a shared backup; empty where it told none, or the MD5 that is in ``digests``.
    """

    key: str
    size: int
    etag: str = ""
    digests: dict[str, str] = {}
    source: str = ""
