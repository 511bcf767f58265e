"""Whether a collection lies in segments that only Milvus itself can read."""

from __future__ import annotations

from collections.abc import Iterator

from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.pool import Pool
from mbk.errors import Interrupted, MbkError
from mbk.model.selection import CollectionName, Selection

#: From this storage version on a segment is a manifest with files of its own.
_MANIFEST = 3
#: The data type for which 3.0 writes such segments, whatever it writes otherwise.
_TEXT = 25


def any_manifests(context: ClusterContext, selection: Selection) -> bool:
    """Whether any of the selected collections has such segments, or will as soon as its rows are flushed."""
    with Pool(context.run.budget.collections, context.run.cancelled, name="mbk-kinds") as pool:
        return any(pool.gather(lambda name: _has_manifests(context, name), [*_selected(context, selection)]))


def _selected(context: ClusterContext, selection: Selection) -> Iterator[CollectionName]:
    call, inventory = context.run.retry.call, context.milvus.inventory
    for database in call("list databases", inventory.databases):
        if selection.wants_database(database.db_name):
            what = f"list collections of {database.db_name}"
            listed = call(what, inventory.collections, database.db_name)
            yield from filter(selection.wants, (CollectionName(database.db_name, name) for name in listed))


def _has_manifests(context: ClusterContext, name: CollectionName) -> bool:
    call, milvus = context.run.retry.call, context.milvus
    try:
        segments = call(
            f"list segments of {name}", milvus.segments.persistent, name.database, name.collection
        )
        if any(segment.storage_version >= _MANIFEST for segment in segments):
            return True
        schema = call(f"describe {name}", milvus.inventory.describe, name.database, name.collection).schema
    except Interrupted:
        raise
    except MbkError:
        return False  # the run itself tells what is wrong with the collection
    return any(field.data_type == _TEXT for field in schema.fields)
