"""The operation `undelete`: brings back a complete backup that was deleted or overwritten in a bucket that keeps versions.

Objects come first and what commits the backup last, so that a run that is killed leaves an incomplete backup, and the next goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mbk.engine.operations.copy import id_there, manifest_there
from mbk.engine.repository.catalog import Catalog, backup_exists
from mbk.engine.repository.keeping import Keeping, keeping_as_told
from mbk.engine.repository.past import Archaeologist, Found, Past, Return, unable
from mbk.engine.repository.pool.index import tell_index
from mbk.engine.repository.pool.joining import join
from mbk.engine.repository.removal import VERSIONS_AT_ONCE, some
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.layer import reach
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.pool import Pool
from mbk.errors import DamagedBackup, VerificationFailed
from mbk.frozen import frozen
from mbk.model.manifest import Manifest
from mbk.model.options import UndeleteOptions
from mbk.model.plans import Plan
from mbk.model.reports import UndeleteReport
from mbk.ports.storage import PLAIN, ObjectInfo, Storage, Versioned, WriteOptions


@frozen(kw_only=True)
class UndeletePlan:
    """``past``: what comes back of backup ``name``, which has this ``id``."""

    name: str
    id: str
    past: Past


def plan(context: Context, name: str, _: UndeleteOptions) -> UndeletePlan:
    """`BackupNotFound` or `InvalidBackup` if no version tells of a complete backup, `BackupExists` if there is another one now, and
    `Unsupported` where the storage tells no versions."""
    context.backup_storage.check()
    with _found(context, name) as (archaeologist, found):
        return UndeletePlan(name=name, id=found.manifest.id, past=archaeologist.past(found))


def preview(context: Context, plan: UndeletePlan) -> Plan:
    past, here = plan.past, context.backup_storage.location
    lost = [f"of {len(past.lost)} objects no version is left: {some(past.lost, len(past.lost))}"]
    return Plan(
        command="undelete",
        name=plan.name,
        id=plan.id,
        location=f"{here}/{plan.name}",
        objects=len(past.objects) + len(past.files),
        size=past.size,
        present=past.present,
        present_size=past.present_size,
        notices=(*context.run.notices, *(lost if past.lost else [])),
    )


def execute(context: Context, name: str, _: UndeleteOptions) -> UndeleteReport:
    """Brings the backup back. `DamagedBackup` in the end if there is no version of some of its objects."""
    started, run, storage = time.monotonic(), context.run, context.backup_storage
    storage.check()
    what = f"bringing back backup {name!r}"
    with (
        hold(storage, name, what, run, pace=context.pace.lease) as fence,
        _found(context, name) as (archaeologist, found),
    ):
        if found.is_shared:
            join(storage, fence, run, context.pace.lease)
        run.phase("undelete")
        storage = keeping_as_told(writing_backup(storage, fence, name), found.place, found.lock)
        past = archaeologist.past(found)
        returning = _Returning(context, storage, archaeologist)
        returning.objects(past.objects)
        _require_back(archaeologist.past(found), name)
        returning.files(past.files, Keeping(storage, run, found.place).kept())
        _require_whole(context, name)
        if found.is_shared:
            tell_index(storage, run, name)
    _tell(context, name, past)
    return UndeleteReport(
        name=name,
        id=found.manifest.id,
        location=f"{storage.location}/{name}",
        returned=len(past.objects) + len(past.files),
        size=past.size,
        rewritten=sum(item.rewritten for item in past.returns),
        present=past.present,
        seconds=time.monotonic() - started,
        notices=tuple(run.notices),
    )


@contextmanager
def _found(context: Context, name: str) -> Iterator[tuple[Archaeologist, Found]]:
    """`BackupExists` if another backup is there now."""
    catalog = Catalog(context.backup_storage, context.run)
    archaeologist = Archaeologist(context.backup_storage, context.run)
    found = archaeologist.found(catalog.layout(name))
    with found.record:
        stored = catalog.find(name)
        there = (
            id_there(catalog, stored, manifest_there(catalog, name) or Manifest()) if stored.is_backup else ""
        )
        if there not in ("", found.manifest.id):
            raise backup_exists(
                name,
                context.backup_storage.location,
                hint="it is not the one that was deleted: copy it to another name and delete it here first",
            )
        yield archaeologist, found


@frozen
class _Returning:
    context: Context
    storage: Storage
    archaeologist: Archaeologist

    def objects(self, returns: Sequence[Return]) -> None:
        self._unmark(returns)
        run = self.context.run
        with Pool(run.budget.copies, run.cancelled, name="mbk-undelete") as pool:
            pool.run(self._write, (item for item in returns if item.rewritten))

    def files(self, returns: Sequence[Return], options: WriteOptions) -> None:
        """In their order, each before the next."""
        for item in returns:
            self._write(item, options) if item.rewritten else self._unmark([item])

    def _unmark(self, returns: Sequence[Return]) -> None:
        marks = [mark for item in returns for mark in item.marks]
        versioned = reach(self.storage, Versioned)
        if versioned is None:
            raise unable(self.storage)
        for start in range(0, len(marks), VERSIONS_AT_ONCE):
            self.context.run.check_cancelled()
            versioned.delete_versions(marks[start : start + VERSIONS_AT_ONCE])

    def _write(self, item: Return, options: WriteOptions = PLAIN) -> None:
        key = item.version.key

        def once() -> ObjectInfo:
            chunks = self.archaeologist.stream(item.version)
            return self.storage.write(key, chunks, size=item.version.size, options=options)

        self.context.run.retry.call(f"write {key}", once)


def _require_back(past: Past, name: str) -> None:
    """Before the backup is committed: what was said to be back is back."""
    if not past.objects:
        return
    keys = [item.version.key for item in past.objects]
    raise VerificationFailed(
        "{count} objects of backup {backup!r} did not come back: {keys}",
        code="undelete-not-back",
        count=len(keys),
        backup=name,
        keys=some(keys, len(keys)),
        hint="the storage confirmed it without doing it, or somebody deletes there; run it again",
    )


def _require_whole(context: Context, name: str) -> None:
    Catalog(context.backup_storage, context.run).committed(name)


def _tell(context: Context, name: str, past: Past) -> None:
    if past.unproven:
        context.run.notice(
            "undelete-unproven",
            "{count} objects of backup {backup!r} have the right size, and nobody tells their digests: mbk verify -n {backup} "
            "--depth contents reads them",
            count=past.unproven,
            backup=name,
        )
    if past.lost:
        raise DamagedBackup(
            "backup {backup!r} is back but for {count} objects, of which no version is left: {keys}",
            code="undelete-lost",
            backup=name,
            count=len(past.lost),
            keys=some(past.lost, len(past.lost)),
            hint="mbk verify -n {backup} tells what is missing, restore --salvage restores the rest",
        )
    if not any(past.returns):
        context.run.notice(
            "undelete-not-needed", "backup {backup!r} is there, nothing of it is hidden", backup=name
        )
