"""Whether what was copied is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mbk.engine.transfer.items import CopyItem
from mbk.errors import VerificationFailed
from mbk.ports.storage import ObjectInfo


def verify(items: Iterable[CopyItem], present: Mapping[str, ObjectInfo], *, where: str) -> None:
    """Requires every copied object with its exact size; `VerificationFailed` names the first that is not right.

    ``present`` is a listing, by key, that was begun after the copying ended; ``where`` names the storage.
    """
    for item in items:
        found = present.get(item.key)
        if found is None or found.size != item.size:
            state = "is missing" if found is None else f"has {found.size} bytes"
            raise VerificationFailed(
                "{key} {state} in {where}, {size} bytes were copied",
                code="bytes-were-copied",
                key=item.key,
                state=state,
                where=where,
                size=item.size,
                hint="run again with --resume; if it stays so, something deletes objects there",
            )
