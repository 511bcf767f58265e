"""Messages that more than one room gives, each made once."""

from __future__ import annotations

from collections.abc import Iterable

from mbk.engine.runtime.run import Run
from mbk.errors import InvalidBackup, MbkError, UsageError
from mbk.model.declared import near
from mbk.model.selection import CollectionName


def partitions_not_selectable(collection: object) -> UsageError:
    """Milvus assigns rows to partitions by a hash of the key, so a single partition means nothing to a user."""
    return UsageError(
        "partitions of {collection} cannot be selected: it has a partition key",
        code="partitions-not-selectable",
        collection=collection,
        hint="select the whole collection",
    )


def unknown_format(name: str, recorded: str) -> InvalidBackup:
    return InvalidBackup(
        "backup {backup!r} has an unknown format: {format!r}",
        code="backup-format-unknown",
        backup=name,
        format=recorded,
        hint="it may need a newer version of mbk",
    )


def did_you_mean(name: object) -> str:
    """The question, to be put before a hint; empty for no name."""
    return f"did you mean {name}? " if name else ""


def near_collection(
    name: CollectionName, collections: Iterable[CollectionName], databases: Iterable[str] = ()
) -> CollectionName | None:
    """The one that was most likely meant: of nearly this name in its database, or of this name in another database.

    ``databases``: further ones, whose collections are not known.
    """
    known = sorted(collections)
    beside = {item.collection for item in known if item.database == name.database}
    if match := near(name.collection, beside):
        return CollectionName(name.database, match)
    if elsewhere := {item.database for item in known if item.collection == name.collection}:
        return CollectionName(near(name.database, elsewhere) or min(elsewhere), name.collection)
    others = {*databases, *(item.database for item in known)} - {name.database}
    database = near(name.database, others)
    return CollectionName(database, name.collection) if database and not beside else None


def notice_unmatched(run: Run, option: str, item: str) -> None:
    """``option`` is ``filter`` or ``rename``, ``item`` one of the values given for it."""
    run.notice("filter-fits-nothing", "{option} {item} matches no collection", option=option, item=item)


def notice_bucket_missing(run: Run, error: MbkError) -> None:
    run.notice("bucket-will-be-created", "{reason}: it will be created", reason=error.message)
