"""Messages that more than one room gives, each made once."""

from __future__ import annotations

from mbk.engine.runtime.run import Run
from mbk.errors import InvalidBackup, MbkError, UsageError


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


def notice_unmatched(run: Run, option: str, item: str) -> None:
    """``option`` is ``filter`` or ``rename``, ``item`` one of the values given for it."""
    run.notice("filter-fits-nothing", "{option} {item} matches no collection", option=option, item=item)


def notice_bucket_missing(run: Run, error: MbkError) -> None:
    run.notice("bucket-will-be-created", "{reason}: it will be created", reason=error.message)
