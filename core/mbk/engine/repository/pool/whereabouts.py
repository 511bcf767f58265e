"""Where the objects of a backup lie: all below its own name, or below the ids of the backups that put them into the pool."""

from __future__ import annotations

from mbk.engine.repository.catalog import Committed
from mbk.engine.repository.record import Record


def data_prefixes(committed: Committed, record: Record | None, collection: int) -> tuple[str, ...]:
    """Below which all objects of a collection lie; in the pool there are objects of other backups, too."""
    if not committed.is_shared or record is None:
        return committed.stored.layout.collection_prefixes(collection)
    kinds = {tuple(entry.key.split("/", 3)[:3]) for entry in record.each_of(collection)}
    return tuple(f"{committed.below}{'/'.join(kind)}/{collection}/" for kind in sorted(kinds))
