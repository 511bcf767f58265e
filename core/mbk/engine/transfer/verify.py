"""Verifying that copied objects have arrived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mbk.engine.transfer.items import CopyItem
from mbk.errors import VerificationFailed
from mbk.ports.storage import ObjectInfo


def size_differs(item: CopyItem, size: int, location: object) -> VerificationFailed:
    return VerificationFailed(
        "{key} has {size} bytes in {location}, expected {expected}",
        code="copied-size-differs",
        key=item.key,
        size=size,
        location=location,
        expected=item.size,
        hint="run again with --resume; if it happens again, another process writes there",
    )


def verify(items: Iterable[CopyItem], present: Mapping[str, ObjectInfo], *, where: str) -> None:
    """Requires every copied object with its exact size; `VerificationFailed` names the first that is missing or differs.

    ``present`` is a listing, by key, that was started after the copying ended; ``where`` names the storage.
    """
    for item in items:
        entry = present.get(item.key)
        if entry is None:
            raise VerificationFailed(
                "{key} was copied but is missing in {location}",
                code="copied-object-missing",
                key=item.key,
                location=where,
                hint="run again with --resume; if it happens again, another process deletes objects there",
            )
        if entry.size != item.size:
            raise size_differs(item, entry.size, where)
