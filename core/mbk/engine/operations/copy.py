"""The operation `copy`: copies a committed backup to another place or name, with the commit protocol.

What is copied is copied byte for byte. Only a new name changes bytes: those of the metadata files that contain it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace

import msgspec

from mbk.engine.formats.known import of_backup
from mbk.engine.repository import codec, renaming
from mbk.engine.repository.catalog import Catalog, Committed, Stored, backup_exists
from mbk.engine.repository.leftovers import leftovers
from mbk.engine.repository.seal import digest_of
from mbk.engine.repository.surroundings import require_room
from mbk.engine.runtime.context import CopyContext
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.layer import Layer
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.messages import notice_bucket_missing
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import KEPT, CopyItem
from mbk.engine.transfer.load import copying, together
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.same import Same, compare
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import BackupExists, BucketNotFound, InvalidBackup, ObjectNotFound, UsageError
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.events import ObjectCopied, WorkPlanned
from mbk.model.flows import requests_of
from mbk.model.layout import BackupLayout
from mbk.model.manifest import COPY, Earlier, Manifest, now
from mbk.model.options import CopyOptions
from mbk.model.plans import Plan, total
from mbk.model.records import DEFAULT_DATABASE, BackupHead, Collection
from mbk.model.reports import CollectionOutcome, RunReport, TransferStats
from mbk.model.states import CollectionState
from mbk.ports.storage import PLAIN, ObjectInfo, Storage, WriteOptions


@frozen(kw_only=True)
class There:
    """What lies at the destination: nothing, or a copy of the same backup, complete or not.

    ``present``: all objects, by key. ``settled``: its manifest is that of the commit that is copied, so it stays true.
    ``earlier``: what is true of another commit of the backup until that of the copy is written.
    """

    present: Mapping[str, ObjectInfo] = field(default_factory=dict)
    begun: bool = False
    settled: bool = False
    earlier: Earlier | None = None


@frozen(kw_only=True)
class CopyPlan:
    """``name`` is that of the copy. ``items``: every object that is copied; ``written``: the metadata that gets the new name.

    ``manifest``: that of the copy. ``mark``: the file that commits it.
    """

    source: str
    name: str
    committed: Committed
    place: BackupLayout
    manifest: Manifest
    mark: str
    items: tuple[CopyItem, ...]
    written: Mapping[str, bytes]
    there: There

    @property
    def divided(self) -> tuple[list[CopyItem], list[CopyItem]]:
        """The objects that are not at the destination, and those that are, as far as a listing tells."""
        missing, present = list[CopyItem](), list[CopyItem]()
        for item in self.items:
            existing = self.there.present.get(item.key)
            is_there = existing is not None and compare(item, existing) is not Same.NO
            (present if is_there else missing).append(item)
        return missing, present

    @property
    def written_beside(self) -> int:
        """Files that are written and are not copies: the lease, the manifest of the unfinished, those with the new name."""
        if not self.there.settled:
            return 2 + len(self.written)
        present = self.there.present
        there = (present.get(self.place.meta(file)) for file in self.written)
        return 1 + sum(
            entry is None or entry.size != len(data)
            for entry, data in zip(there, self.written.values(), strict=True)
        )


def plan(context: CopyContext, name: str, options: CopyOptions) -> CopyPlan:
    """Raises every obstacle; `BackupExists` if there is something under the name of the copy other than a copy of this
    backup, or a newer one."""
    catalog, committed, new = _readable(context, name, options)
    try:
        context.target.check()
    except BucketNotFound as missing:
        notice_bucket_missing(context.run, missing)
        return _plan(context, catalog, committed, new, context.target, None)
    there = _found(context, committed, new, context.target)
    return _plan(context, catalog, committed, new, context.target, there)


def preview(context: CopyContext, plan: CopyPlan) -> Plan:
    outcomes = tuple(_outcomes(plan, CollectionState.PLANNED))
    missing, present = plan.divided
    pair = Pair(
        source=context.backup_storage,
        destination=context.target,
        run=context.run,
        limits=context.limits.transfer,
    )
    flows = together([copying(((item.source_key, item.size) for item in missing), pair, "backups", "target")])
    return Plan(
        command="copy",
        name=plan.source,
        id=plan.committed.backup.id,
        location=f"{context.backup_storage.location}/{plan.source}",
        target=f"{context.target.location}/{plan.name}",
        milvus_version=plan.committed.backup.milvus_version,
        resumes=plan.there.begun,
        collections=outcomes,
        objects=len(missing) + len(plan.written),
        size=sum(item.size for item in missing) + sum(map(len, plan.written.values())),
        present=len(present),
        present_size=sum(item.size for item in present),
        rows=total([item.rows_expected for item in outcomes]),
        flows=flows,
        requests=requests_of(
            flows,
            listed=[("backups", len(plan.items)), ("target", len(plan.items))],
            written=[("target", plan.written_beside)],
        ),
        notices=tuple(context.run.notices),
    )


def execute(context: CopyContext, name: str, options: CopyOptions) -> RunReport:
    """Copies the backup. What is there of it already is kept; anything else at the destination stays untouched."""
    started, run, target = time.monotonic(), context.run, context.target
    catalog, committed, new = _readable(context, name, options)
    target.check(create=True)
    what, left = f"copy of backup {name!r}", leftovers(new)
    with hold(target, new, what, run, pace=context.pace.lease, aftermath=left) as fence:
        target = writing_backup(target, fence, new)
        there = _found(context, committed, new, target)
        plan = _plan(context, catalog, committed, new, target, there)
        if committed.backup.rbac_meta is not None:
            target = _ForItsOwner(target, plan.place.meta_prefix)
        stats = _copy(context, plan, target, options)
    return RunReport(
        command="copy",
        name=new,
        id=committed.backup.id,
        location=f"{target.location}/{new}",
        milvus_version=committed.backup.milvus_version,
        seconds=time.monotonic() - started,
        collections=tuple(_outcomes(plan, CollectionState.DONE)),
        transfer=stats,
        notices=tuple(run.notices),
        compared=options.checksum,
    )


# -- planning ----------------------------------------------------------------------------------------------------------


def _readable(context: CopyContext, address: str, options: CopyOptions) -> tuple[Catalog, Committed, str]:
    """The backup to copy, and the name of the copy."""
    name, new = options.names(address)
    here, there = context.backup_storage.location, context.target.location
    if here.same_bucket(there) and here.root == there.root and name == new:
        raise UsageError(
            "backup {backup!r} would be copied onto itself",
            code="backup-onto-itself",
            backup=name,
            hint="choose another name, path or bucket",
        )
    require_room(new, there, context.milvus_place)
    context.backup_storage.check()
    context.limits.transfer.require_workers()
    catalog = Catalog(context.backup_storage, context.run)
    committed = catalog.committed(name)
    if committed.manifest.failed:
        raise InvalidBackup(
            "backup {backup!r} is partial, it lacks {collections}",
            code="copy-of-partial",
            backup=name,
            collections=", ".join(committed.manifest.failed),
            hint="complete it first: mbk create -n {backup} --resume",
        )
    of_backup(committed.backup.format, name).require_movable(name)
    return catalog, committed, new


def _found(context: CopyContext, committed: Committed, new: str, target: Storage) -> There:
    """What lies at the destination; `BackupExists` unless it is nothing or a copy of this backup that is not newer."""
    catalog = Catalog(target, context.run)
    stored = catalog.find(new)
    if not stored.is_backup:
        catalog.require_free(new, hint="choose another name, or end it with / to copy into that directory")
        return There()
    own = committed.manifest
    manifest = _manifest_there(catalog, new)
    known = manifest or Manifest()
    ours = _id_there(catalog, stored, known) == committed.backup.id
    if not ours or not (stored.is_committed or known.command == COPY):
        raise backup_exists(new, target.location, hint="delete it there, or copy to another name or place")
    differs = known.commit != own.commit
    if stored.is_committed and known.commit and differs and not own.finished > known.finished:
        raise BackupExists(
            "backup {backup!r} in {location} is newer than the one to copy",
            code="copy-of-older",
            backup=new,
            location=target.location,
            hint="copy it in the other direction, or delete it there first",
        )
    return There(
        present=listing.by_key(target, context.run, stored.layout.prefix),
        begun=known.command == COPY,
        settled=stored.is_committed and manifest is not None and not differs and known.command != COPY,
        earlier=known.as_earlier() if stored.is_committed and manifest is not None and differs else None,
    )


def _manifest_there(catalog: Catalog, name: str) -> Manifest | None:
    """None for a damaged one: the copy replaces it."""
    try:
        return catalog.read_manifest(name)
    except InvalidBackup:
        return None


def _id_there(catalog: Catalog, stored: Stored, manifest: Manifest) -> str:
    """The id of the backup at the destination, from the first file that tells it; empty if none does."""
    if manifest.id:
        return manifest.id
    for file in (layout.BACKUP_META, layout.FULL_META):
        where = stored.layout.meta(file)
        with suppress(InvalidBackup, ObjectNotFound):
            return codec.decode(catalog.read_file(where), BackupHead, where=where).id
    return ""


def _plan(
    context: CopyContext,
    source: Catalog,
    committed: Committed,
    new: str,
    target: Storage,
    there: There | None,
) -> CopyPlan:
    stored = committed.stored
    name, place = stored.layout.name, Catalog(target, context.run).layout(new)
    kind = of_backup(committed.backup.format, name)
    files = dict(_metadata(committed))
    manifest, written = committed.manifest, dict[str, bytes]()
    if new != name:
        manifest, written = renaming.renamed(source, committed, files, new)
    items = [
        CopyItem.of(entry, place.prefix + entry.key.removeprefix(stored.layout.prefix))
        for entry in kind.belongings(context, source, committed)
    ]
    items += [CopyItem.of(entry, place.meta(file)) for file, entry in files.items() if file not in written]
    return CopyPlan(
        source=name,
        name=new,
        committed=committed,
        place=place,
        manifest=manifest,
        mark=layout.FULL_META if layout.FULL_META in stored.files else layout.BACKUP_META,
        items=tuple(items),
        written=written,
        there=there or There(),
    )


def _metadata(committed: Committed) -> Iterator[tuple[str, ObjectInfo]]:
    """The metadata files that belong to the backup, with their digests where those are known.

    The copy has not been verified, whatever was found here.
    """
    known = committed.manifest.files
    for file, entry in committed.stored.files.items():
        if file in layout.BESIDE:
            continue
        digest = known.get(file)
        if digest is not None:
            yield file, replace(entry, checksums={"sha256": digest.sha256, "md5": digest.md5})
        elif file == layout.MANIFEST or not known:
            yield file, entry


class _ForItsOwner(Layer):
    """Metadata with hashes of passwords, below ``prefix``, is for its owner alone where objects are files."""

    def __init__(self, wrapped: Storage, prefix: str) -> None:
        super().__init__(wrapped)
        self._prefix = prefix

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        chosen = replace(options, private=True) if key.startswith(self._prefix) else options
        return super().write(key, chunks, size=size, options=chosen)


# -- running -----------------------------------------------------------------------------------------------------------


def _copy(context: CopyContext, plan: CopyPlan, target: Storage, options: CopyOptions) -> TransferStats:
    """Until the copy is complete, the manifest at the target says that it is a copy, and of what; the last step replaces
    it by that of the source. It is true of the source's commit all the time, so that a run may be killed before that."""
    run, catalog, place, there = context.run, Catalog(target, context.run), plan.place, plan.there
    run.phase("copy")
    size = sum(item.size for item in plan.items) + sum(map(len, plan.written.values()))
    run.emit(WorkPlanned(collection="", objects=len(plan.items) + len(plan.written), size=size))
    catalog.clean(place.prefix)
    if not there.settled:
        _take_name(context, plan, catalog)
    with Transfer(
        source=context.backup_storage,
        destination=target,
        run=run,
        limits=context.limits.transfer,
        full=options.checksum == "full",
    ) as transfer:

        def copy(items: Sequence[CopyItem], prefix: str, present: Mapping[str, ObjectInfo]) -> None:
            transfer.arrive(
                items, collection="", present=present, listed=lambda: listing.by_key(target, run, prefix)
            )

        def finish(file: str) -> None:
            """Copies or writes one metadata file."""
            key = place.meta(file)
            if (data := plan.written.get(file)) is None:
                copy([item for item in plan.items if item.key == key], place.meta_prefix, last)
            elif key in last and catalog.has(key, digest_of([data])):
                run.emit(ObjectCopied(collection="", key=key, size=len(data), how=KEPT))
            else:
                transfer.made(key, data, collection="")

        # While the copy is not settled, what is there under these names may be of this run or of another commit.
        last = there.present if there.settled else {}
        ends = (plan.mark, layout.MANIFEST)
        data = [item for item in plan.items if not item.key.startswith(place.meta_prefix)]
        meta = [item for item in plan.items if item.key.startswith(place.meta_prefix)]
        ending = {place.meta(file) for file in ends}
        copy(data, place.data_prefix, there.present)
        copy([item for item in meta if item.key not in ending], place.meta_prefix, there.present)
        for file in plan.written.keys() - {*ends}:
            finish(file)
        transfer.tell_unproven()
        run.check_cancelled()
        run.phase("commit")
        finish(plan.mark)
        if layout.MANIFEST in plan.written or any(item.key == place.meta(layout.MANIFEST) for item in meta):
            finish(layout.MANIFEST)
        elif not there.settled:
            _delete(context, target, [place.meta(layout.MANIFEST)])
        _tidy(context, plan, target)
        return transfer.stats


def _take_name(context: CopyContext, plan: CopyPlan, catalog: Catalog) -> None:
    manifest = msgspec.structs.replace(
        plan.manifest,
        id=plan.committed.backup.id,
        name=plan.name,
        started=now(),
        finished="",
        command=COPY,
        source=f"{context.backup_storage.location}/{plan.source}",
        earlier=plan.there.earlier,
    )
    catalog.write_manifest(plan.name, manifest)


def _tidy(context: CopyContext, plan: CopyPlan, target: Storage) -> None:
    """Removes the records of other commits of the backup, and tells what else is there that is not of it."""
    place = plan.place
    own = {item.key for item in plan.items} | {place.meta(file) for file in (*plan.written, *layout.BESIDE)}
    left = {key for key in plan.there.present if key not in own and key != place.meta(layout.MANIFEST)}
    stale = {key for key in left if layout.is_record(key.removeprefix(place.meta_prefix))}
    if stale:
        _delete(context, target, sorted(stale))
    if others := left - stale:
        context.run.notice(
            "copy-beside-others",
            "objects below {prefix} in {location} that are not of the backup, and stay: {count}",
            prefix=place.prefix,
            location=target.location,
            count=len(others),
        )


def _delete(context: CopyContext, target: Storage, keys: list[str]) -> None:
    context.run.retry.call(f"delete {keys[0]}", target.delete, keys)


def _outcomes(plan: CopyPlan, state: CollectionState) -> Iterator[CollectionOutcome]:
    for item in plan.committed.backup.collection_backups:
        label = _label(item)
        below = plan.place.collection_prefixes(item.collection_id)
        own = [entry for entry in plan.items if entry.key.startswith(below)]
        segments = [segment for part in item.partition_backups for segment in part.segment_backups]
        yield CollectionOutcome(
            label,
            label,
            state,
            objects=len(own),
            size=sum(entry.size for entry in own),
            rows_expected=sum(segment.num_of_rows for segment in segments if not segment.is_l0),
        )


def _label(item: Collection) -> str:
    return f"{item.db_name or DEFAULT_DATABASE}.{item.collection_name}"
