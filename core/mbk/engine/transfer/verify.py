"""Verifying that copied objects have arrived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.proof import copy_differs, missing, size_differs
from mbk.engine.transfer.same import Match, match
from mbk.ports.storage import ObjectInfo


def verify(items: Iterable[CopyItem], present: Mapping[str, ObjectInfo], *, where: str) -> None:
    """Requires every copied object with the size and, where both are told, the digest of its source.

    `VerificationFailed` names the first that is missing or differs. ``present`` is a listing, by key, that was started
    after the copying ended; ``where`` names the storage.
    """
    for item in items:
        entry = present.get(item.key)
        if entry is None:
            raise missing(item, where)
        if entry.size != item.size:
            raise size_differs(item, entry.size, where)
        if match(item.checksums, item.etag, entry) is Match.DIFFERENT:
            raise copy_differs(item, where)
