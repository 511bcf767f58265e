"""Compares the files of a backup's snapshots with its record, before Milvus is told where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mbk.engine.formats.base import RestoreWork
from mbk.engine.formats.comparing import Comparison
from mbk.engine.formats.differences import Differences, joined, refuse, tell_extra
from mbk.engine.formats.snapshot.jobs import export_root
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer import listing
from mbk.engine.transfer.same import Vouch, vouched
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import ObjectInfo

Pairs = list[tuple[ObjectInfo, ObjectRecord]]


def require_recorded(context: ClusterContext, work: RestoreWork) -> None:
    """`DamagedBackup` if a file is missing or changed; files that do not belong to the backup are told, and Milvus does not
    look for them. Reads what the storage does not vouch for, as ``verify`` asks: Milvus itself reads everything at once."""
    verify, storage = work.options.verify, context.backup_storage
    record = work.catalog.open_record(work.committed)
    if record is None:
        if work.tasks:
            context.run.notice(
                "backup-without-record",
                "backup {backup!r} has no record of its objects: only names, sizes and counts can be compared",
                backup=work.name,
            )
        return
    if verify == "none":
        record.close()
        return
    with record:
        here = record.is_here(storage.location, work.name)
        compared = [
            _compare(context, work, task, record.of(task.record.collection_id), here=here)
            for task in _by_source(work)
        ]
    found = joined(differences for differences, _ in compared)
    refuse(found, backup=work.name, location=storage.location)
    tell_extra(context.run, found, backup=work.name)
    if verify == "listing":
        return
    comparison = Comparison(storage=storage, run=context.run, here=here, everything=verify == "contents")
    with Pool(context.run.budget.readers, context.run.cancelled, name="mbk-verify") as pool:
        for _, pairs in compared:
            pool.run(lambda pair: comparison.require(*pair), pairs)


def _by_source(work: RestoreWork) -> Iterator[RestoreTask]:
    """Several targets may have one source."""
    yield from {task.source: task for task in work.tasks}.values()


def _compare(
    context: ClusterContext,
    work: RestoreWork,
    task: RestoreTask,
    recorded: Mapping[str, ObjectRecord],
    *,
    here: bool,
) -> tuple[Differences, Pairs]:
    found, pairs = Differences(), Pairs()
    bundle = task.record.snapshot_backup
    root = export_root(work.place, bundle.metadata_path) if bundle is not None else work.place.prefix
    files = listing.objects(context.backup_storage, context.run, root)
    present = {entry.key.removeprefix(work.place.prefix): entry for entry in files}
    for key, record in recorded.items():
        entry = present.get(key)
        if entry is None:
            found.missing.add(key)
        elif entry.size != record.size:
            found.resized.add(key)
        elif vouched(record, entry, here=here) is Vouch.CHANGED:
            found.rewritten.add(key)
        else:
            pairs.append((entry, record))
    if root != f"{work.place.prefix}bundle/":
        # A directory that several snapshots share holds the files of the others, too.
        for key in sorted(present.keys() - recorded.keys()):
            found.extra.add(key)
    return found, pairs
