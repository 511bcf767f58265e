"""What a backup knows of each of its objects. See docs/reference/backup-format.md#the-record-of-objects."""

from __future__ import annotations

import msgspec


class ObjectRecord(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """One object of a backup; ``key`` is relative to the backup's prefix, ``size`` in bytes.

    ``etag``: what the storage told when the record was made; it says nothing of a copy elsewhere. ``digests``: kind (as in
    :data:`mbk.ports.storage.CHECKSUMS`) -> lower-case hexadecimal digest of the bytes.
    """

    key: str
    size: int
    etag: str = ""
    digests: dict[str, str] = {}
