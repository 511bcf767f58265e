"""The operation `copy`: copies a committed backup to another place or name, with the commit protocol.

What is copied is copied byte for byte. Only a new name or another layout changes bytes: those of the metadata files that tell it.
The objects of a shared backup go into the pool of the destination, and what that has already is not copied.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from datetime import UTC, datetime

import msgspec

from mbk.engine.formats.known import of_backup
from mbk.engine.repository import codec, renaming
from mbk.engine.repository.catalog import Catalog, Committed, Stored, backup_exists
from mbk.engine.repository.keeping import Keeping, keeping, locked_ones_stay, require_keeping
from mbk.engine.repository.leftovers import InPool, leftovers
from mbk.engine.repository.pool.damage import read_damaged, tell_whole
from mbk.engine.repository.pool.index import tell_index
from mbk.engine.repository.pool.joining import join
from mbk.engine.repository.pool.moving import Move, Moving, moving, outcomes
from mbk.engine.repository.pool.twofold import tell_classic
from mbk.engine.repository.relaying import carried, commit_of, relaid, require_relayable, write
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
from mbk.model.manifest import COPY, SHARED, Earlier, Manifest, now
from mbk.model.options import CopyOptions
from mbk.model.plans import Plan, total
from mbk.model.records import BackupHead
from mbk.model.reports import RunReport, TransferStats
from mbk.model.states import CollectionState
from mbk.ports.storage import PLAIN, ObjectInfo, Storage, WriteOptions

#: The metadata that differs between the layouts, beside the record.
_RELAID = (layout.MANIFEST, layout.BACKUP_META, layout.FULL_META)


@frozen(kw_only=True)
class There:
    """What lies at the destination: nothing, or a copy of the same backup, complete or not.

    ``present``: all objects below its prefix, by key. ``settled``: its manifest is that of the commit that is copied, so it stays true.
    ``earlier``: what is true of another commit of the backup until that of the copy is written. ``kept``: its lock is told.
    """

    present: Mapping[str, ObjectInfo] = field(default_factory=dict)
    begun: bool = False
    settled: bool = False
    earlier: Earlier | None = None
    kept: bool = False


@frozen(kw_only=True)
class CopyPlan:
    """``name`` is that of the copy. ``moving``: its objects; ``meta``: the metadata that is copied, ``written``: that which gets the new
    name.

    ``manifest``: that of the copy. ``mark``: the file that commits it. One that gets another layout has neither before its objects are
    there: then ``made`` are about the bytes of each file that is written.
    """

    source: str
    name: str
    committed: Committed
    place: BackupLayout
    manifest: Manifest
    mark: str
    moving: Moving
    meta: tuple[CopyItem, ...]
    written: Mapping[str, bytes]
    made: Mapping[str, int]
    there: There

    @property
    def commit(self) -> str:
        """The name of its commit."""
        return commit_of(self.committed, self.name) if self.moving.move.relays else self.manifest.commit

    @property
    def items(self) -> tuple[CopyItem, ...]:
        """Every object that is copied."""
        return (*self.moving.items, *self.meta)

    @property
    def present(self) -> Mapping[str, ObjectInfo]:
        return {**self.there.present, **self.moving.present}

    @property
    def divided(self) -> tuple[list[CopyItem], list[CopyItem]]:
        """The objects that are not at the destination, and those that are, as far as a listing tells."""
        missing, present, there = list[CopyItem](), list[CopyItem](), self.present
        for item in self.items:
            existing = there.get(item.key)
            is_there = existing is not None and compare(item, existing) is not Same.NO
            (present if is_there else missing).append(item)
        return missing, present

    @property
    def written_beside(self) -> int:
        """Files that are written and are not copies: the lease, the manifest of the unfinished, those with the new name."""
        if not self.there.settled:
            return 2 + len(self.made)
        present = self.there.present
        there = (present.get(self.place.meta(file)) for file in self.written)
        return 1 + sum(
            entry is None or entry.size != len(data)
            for entry, data in zip(there, self.written.values(), strict=True)
        )


def plan(context: CopyContext, name: str, options: CopyOptions) -> CopyPlan:
    """Raises every obstacle; `BackupExists` if there is something under the name of the copy other than a copy of this
    backup, or a newer one."""
    catalog, move = _readable(context, name, options)
    try:
        context.target.check()
    except BucketNotFound as missing:
        notice_bucket_missing(context.run, missing)
        return _plan(context, catalog, move, None, None)
    require_keeping(context.target, context.run, context.object_lock)
    there = _found(context, move, context.target)
    return _plan(context, catalog, move, context.target, there)


def preview(context: CopyContext, plan: CopyPlan) -> Plan:
    planned = outcomes(plan.committed.backup, plan.moving.items, CollectionState.PLANNED)
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
        collections=planned,
        objects=len(missing) + len(plan.made),
        size=sum(item.size for item in missing) + sum(plan.made.values()),
        present=len(present),
        present_size=sum(item.size for item in present),
        rows=total([item.rows_expected for item in planned]),
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
    begun, lock = datetime.now(UTC), context.object_lock
    catalog, move = _readable(context, name, options)
    committed, new = move.source, move.place.name
    target.check(create=True)
    require_keeping(target, run, lock)
    what, shared = f"copy of backup {name!r}", InPool()
    left = leftovers(new, shared)
    with hold(target, new, what, run, pace=context.pace.lease, aftermath=left) as fence:
        if move.shared:
            join(target, fence, run, context.pace.lease)
        target = writing_backup(target, fence, new)
        there = _found(context, move, target)
        target = keeping(target, run, new, lock, begun, again=there.settled)
        plan = _plan(context, catalog, move, target, there)
        if move.shared and not there.settled:
            shared.id, shared.copied = plan.moving.move.directory or committed.backup.id, plan.commit
        if committed.backup.rbac_meta is not None:
            target = _ForItsOwner(target, plan.place.meta_prefix)
        stats = _copy(context, plan, target, options)
        if move.shared:
            tell_index(target, run, new)
            _tell_healed(context, plan, target)
    return RunReport(
        command="copy",
        name=new,
        id=committed.backup.id,
        location=f"{target.location}/{new}",
        milvus_version=committed.backup.milvus_version,
        seconds=time.monotonic() - started,
        collections=outcomes(plan.committed.backup, plan.moving.items, CollectionState.DONE),
        transfer=stats,
        notices=tuple(run.notices),
        compared=options.checksum,
    )


def _tell_healed(context: CopyContext, plan: CopyPlan, target: Storage) -> None:
    """What is damaged here, too, is no better there."""
    healed = plan.moving.healed
    if healed and plan.committed.is_shared:
        healed -= read_damaged(context.backup_storage, context.run).keys()
    tell_whole(target, context.run, healed)


# -- planning ----------------------------------------------------------------------------------------------------------


def _readable(context: CopyContext, address: str, options: CopyOptions) -> tuple[Catalog, Move]:
    """The backup to copy, and what becomes of it."""
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
    require_whole(committed)
    tell_classic(context.backup_storage, context.run, committed)
    of_backup(committed.backup.format, name).require_movable(name)
    shared = committed.is_shared if options.layout == "same" else options.layout == "shared"
    move = Move.of(committed, BackupLayout(there.root, new), shared=shared)
    if move.relays:
        require_relayable(committed)
    return catalog, move


def require_whole(committed: Committed) -> None:
    """`InvalidBackup` for a partial backup, which has yet to be completed where and as it is."""
    if committed.manifest.failed:
        raise InvalidBackup(
            "backup {backup!r} is partial, it lacks {collections}",
            code="copy-of-partial",
            backup=committed.stored.layout.name,
            collections=", ".join(committed.manifest.failed),
            hint="complete it first: mbk create -n {backup} --resume",
        )


def _found(context: CopyContext, move: Move, target: Storage) -> There:
    """What lies at the destination; `BackupExists` unless it is nothing or a copy of this backup that is not newer."""
    catalog, committed, new = Catalog(target, context.run), move.source, move.place.name
    stored = catalog.find(new)
    if not stored.is_backup:
        catalog.require_free(new, hint="choose another name, or end it with / to copy into that directory")
        return There()
    commit = commit_of(committed, new) if move.relays else committed.manifest.commit
    manifest = manifest_there(catalog, new)
    known = manifest or Manifest()
    ours = id_there(catalog, stored, known) == committed.backup.id
    if not ours or not (stored.is_committed or known.command == COPY):
        raise backup_exists(new, target.location, hint="delete it there, or copy to another name or place")
    if manifest is not None and (known.format == SHARED) is not move.shared:
        raise BackupExists(
            "backup {backup!r} in {location} is a copy in the layout {layout}",
            code="copy-in-other-layout",
            backup=new,
            location=target.location,
            layout=_word(shared=not move.shared),
            hint="copy with --layout {layout}, or to another name",
        )
    differs = known.commit != commit
    newer = committed.manifest.finished > known.finished
    if stored.is_committed and known.commit and differs and not newer:
        raise BackupExists(
            "backup {backup!r} in {location} is newer than the one to copy",
            code="copy-of-older",
            backup=new,
            location=target.location,
            hint="copy it in the other direction, or delete it there first",
        )
    settled = stored.is_committed and manifest is not None and not differs and known.command != COPY
    return There(
        present=listing.by_key(target, context.run, stored.layout.prefix),
        begun=known.command == COPY,
        settled=settled and (not move.relays or _is_intact(catalog, new)),
        earlier=known.as_earlier() if stored.is_committed and manifest is not None and differs else None,
        kept=layout.LOCKED in stored.files,
    )


def manifest_there(catalog: Catalog, name: str) -> Manifest | None:
    """None for a damaged one: the copy replaces it."""
    try:
        return catalog.read_manifest(name)
    except InvalidBackup:
        return None


def _is_intact(catalog: Catalog, name: str) -> bool:
    """Whether all metadata of a copy is there: what is in that of one in another layout, no file here tells."""
    try:
        return bool(catalog.committed(name))
    except InvalidBackup:
        return False


def _word(*, shared: bool) -> str:
    return "shared" if shared else "classic"


def id_there(catalog: Catalog, stored: Stored, manifest: Manifest) -> str:
    """The id of the backup at the destination, from the first file that tells it; empty if none does."""
    if manifest.id:
        return manifest.id
    for file in (layout.BACKUP_META, layout.FULL_META):
        where = stored.layout.meta(file)
        with suppress(InvalidBackup, ObjectNotFound):
            return codec.decode(catalog.read_file(where), BackupHead, where=where).id
    return ""


def _plan(
    context: CopyContext, source: Catalog, move: Move, target: Storage | None, there: There | None
) -> CopyPlan:
    committed, place = move.source, move.place
    name = committed.stored.layout.name
    files = dict(_metadata(committed))
    manifest, written = committed.manifest, dict[str, bytes]()
    if move.relays:
        made = {
            file: entry.size for file, entry in files.items() if file in _RELAID or layout.is_record(file)
        }
    else:
        if place.name != name:
            manifest, written = renaming.renamed(source, committed, files, place.name)
        made = {file: len(data) for file, data in written.items()}
    entries = [*of_backup(committed.backup.format, name).belongings(context, source, committed)]
    return CopyPlan(
        source=name,
        name=place.name,
        committed=committed,
        place=place,
        manifest=manifest,
        mark=layout.FULL_META if layout.FULL_META in committed.stored.files else layout.BACKUP_META,
        moving=moving(move, entries, context.backup_storage.location, target, context.run),
        meta=tuple(CopyItem.of(entry, place.meta(file)) for file, entry in files.items() if file not in made),
        written=written,
        made=made,
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
    run, catalog, place = context.run, Catalog(target, context.run), plan.place
    run.phase("copy")
    size = sum(item.size for item in plan.items) + sum(plan.made.values())
    run.emit(WorkPlanned(collection="", objects=len(plan.items) + len(plan.made), size=size))
    catalog.clean(place.prefix)
    keep = Keeping(target, run, place)
    if not plan.there.settled:
        _take_name(context, plan, catalog)
        keep.take()
    with Transfer(
        source=context.backup_storage,
        destination=target,
        run=run,
        limits=context.limits.transfer,
        records=plan.moving.move.relays,
        full=options.checksum == "full",
    ) as transfer:
        copied = _Copied(context, plan, target, catalog, transfer, keep)
        (copied.relaid if plan.moving.move.relays else copied.as_it_is)()
        if plan.there.settled and not plan.there.kept:
            keep.take()
        keep.files()
        return transfer.stats


@frozen
class _Copied:
    context: CopyContext
    plan: CopyPlan
    target: Storage
    catalog: Catalog
    transfer: Transfer
    keep: Keeping

    def as_it_is(self) -> None:
        run, plan, place, there = self.context.run, self.plan, self.plan.place, self.plan.there
        ending = {place.meta(file) for file in (plan.mark, layout.MANIFEST)}
        self._objects()
        self._keep_present()
        self._files([item for item in plan.meta if item.key not in ending], there.present)
        for file in plan.written.keys() - {plan.mark, layout.MANIFEST}:
            self._finish(file)
        self.transfer.tell_unproven()
        run.check_cancelled()
        run.phase("commit")
        self._finish(plan.mark)
        own = place.meta(layout.MANIFEST)
        if layout.MANIFEST in plan.written or any(item.key == own for item in plan.meta):
            self._finish(layout.MANIFEST)
        elif not there.settled:
            _delete(self.context, self.target, [own])
        _tidy(self.context, plan, self.target, plan.written)

    def relaid(self) -> None:
        """In another layout: what is written of it is known when its objects are there."""
        context, run, plan = self.context, self.context.run, self.plan
        source = Catalog(context.backup_storage, run)
        with carried(plan.moving, self.transfer, self.target, run) as made:
            self._keep_present()
            self._files(plan.meta, plan.there.present)
            self.transfer.tell_unproven()
            if plan.there.settled:
                return
            run.check_cancelled()
            run.phase("commit")
            location = self.target.location
            with relaid(
                source, plan.committed, made, name=plan.name, location=location, tool=context.tool
            ) as files:
                write(self.catalog, files, until=_begun(context, plan, files.manifest), run=run)
                _tidy(context, plan, self.target, files.files)

    def _objects(self) -> None:
        moving = self.plan.moving
        if moving.stays:
            self.transfer.keep(moving.items, collection="")
        else:
            self._arrive(moving.items, moving.prefixes, moving.present)

    def _keep_present(self) -> None:
        """Those that were there before; the others were locked as they were made. Of a complete copy that tells its lock, all are."""
        if self.plan.there.settled and self.plan.there.kept:
            return
        moving = self.plan.moving
        self.keep.objects(item.key for item in moving.items if item.key in moving.present)

    def _files(self, items: Sequence[CopyItem], present: Mapping[str, ObjectInfo]) -> None:
        self._arrive(items, (self.plan.place.meta_prefix,), present)

    def _arrive(
        self, items: Sequence[CopyItem], prefixes: Sequence[str], present: Mapping[str, ObjectInfo]
    ) -> None:
        self.transfer.arrive(
            items,
            collection="",
            present=present,
            listed=lambda: listing.by_key(self.target, self.context.run, *prefixes),
        )

    def _finish(self, file: str) -> None:
        """Copies or writes one metadata file. While the copy is not settled, what is there under its name may be of this run or of
        another commit."""
        plan, key = self.plan, self.plan.place.meta(file)
        last = plan.there.present if plan.there.settled else {}
        if (data := plan.written.get(file)) is None:
            self._files([item for item in plan.meta if item.key == key], last)
        elif key in last and self.catalog.has(key, digest_of([data])):
            self.context.run.emit(ObjectCopied(collection="", key=key, size=len(data), how=KEPT))
        else:
            self.transfer.made(key, data, collection="")


def _take_name(context: CopyContext, plan: CopyPlan, catalog: Catalog) -> None:
    manifest = plan.manifest
    if plan.moving.move.relays:
        kind = SHARED if plan.moving.move.shared else ""
        manifest = msgspec.structs.replace(manifest.begun(), format=kind)
    catalog.write_manifest(plan.name, _begun(context, plan, manifest))


def _begun(context: CopyContext, plan: CopyPlan, manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(
        manifest,
        id=plan.committed.backup.id,
        name=plan.name,
        started=now(),
        finished="",
        command=COPY,
        source=f"{context.backup_storage.location}/{plan.source}",
        earlier=plan.there.earlier,
    )


def _tidy(context: CopyContext, plan: CopyPlan, target: Storage, written: Iterable[str]) -> None:
    """Removes the records of other commits of the backup, and tells what else is there that is not of it."""
    place = plan.place
    own = {item.key for item in plan.items} | {place.meta(file) for file in (*written, *layout.BESIDE)}
    left = {key for key in plan.there.present if key not in own and key != place.meta(layout.MANIFEST)}
    stale = {key for key in left if layout.is_record(key.removeprefix(place.meta_prefix))}
    if stale:
        with locked_ones_stay(target):
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
