"""The end of a restore that replaces a collection: the new one, complete beside the old one, takes its name.

Milvus renames one collection at a time and cannot exchange two. So the old one gives its name up and the new one gets it
in the next call; aliases move after that, which Milvus does in one step each, and the old one is dropped last. The
journal says beforehand what is going to happen: wherever a run is killed, the next one tells by the ids of the collections
how far it came (:mod:`mbk.engine.restore.standing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mbk.engine.restore.journal import JournalFile
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.restore.standing import aside, existing
from mbk.engine.restore.target import PATIENCE, Target, TargetKept
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted, MbkError, MilvusError, Unreachable
from mbk.frozen import frozen
from mbk.model.records import LOADED, NOT_LOADED
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo


@frozen
class Rename:
    """The collection of id ``of`` is called ``name`` and gets the name ``new``."""

    of: int
    name: str
    new: str


def rename(milvus: Milvus, run: Run, database: str, *renames: Rename) -> None:
    """One after the other, with nothing between them. An attempt whose answer got lost counts."""
    left = [*renames]

    def once() -> None:
        try:
            milvus.definitions.rename_collections(database, [(item.name, item.new) for item in left])
        except MbkError:
            left[:] = [item for item in left if _id(milvus, database, item.new) != item.of]
            if left:
                raise

    names = " and ".join(f"{database}.{item.name} to {item.new}" for item in renames)
    run.retry.patiently(PATIENCE, f"rename {names}", once)


def _id(milvus: Milvus, database: str, name: str) -> int:
    """0 for a name that nothing has."""
    if not milvus.inventory.has_collection(database, name):
        return 0
    return milvus.inventory.describe(database, name).id


@frozen
class Exchange:
    """That of one task, for one thread."""

    context: ClusterContext
    task: RestoreTask
    journal: JournalFile
    backup_id: str

    @property
    def has_begun(self) -> bool:
        """From then on nothing is undone: this run or the next one completes the exchange."""
        return bool(self.journal.journal.replaces)

    @contextmanager
    def undoing(self, target: Target, forget: Callable[[], None]) -> Iterator[None]:
        """If the block fails before the exchange has begun, the new collection is dropped again, and ``forget`` called."""
        try:
            yield
        except BaseException as error:
            if self.has_begun:
                raise
            try:
                target.undo(error)
            except TargetKept as kept:
                raise kept.cause from kept.cause.__cause__
            forget()
            raise

    def make(self) -> None:
        """Gives the new collection its name. If Milvus refuses that, the old one has it again afterwards."""
        run, milvus = self.context.run, self.context.milvus
        database, name, made = (
            self.task.target.database,
            self.task.target.collection,
            self.task.made.collection,
        )
        new = self.journal.journal.collection_id
        old = existing(self.context, [self.task.target]).get(self.task.target)
        run.phase("exchange", str(self.task.target))
        into = Rename(new, made, name)
        if old is None:
            rename(milvus, run, database, into)
            return
        self._load_like(old)
        waiting = aside(self.backup_id, self.task.target)
        self.journal.exchange(replaces=old.id, aside=waiting)
        try:
            rename(milvus, run, database, Rename(old.id, name, waiting), into)
        except (Unreachable, Interrupted):
            raise  # how far it came is for the next run to find out
        except MbkError:
            if _id(milvus, database, waiting) == old.id:
                rename(milvus, run, database, Rename(old.id, waiting, name))
            self.journal.exchange(replaces=0, aside="")
            raise

    def finish(self) -> None:
        """Moves the aliases to the new collection and drops the old one, if the exchange got as far as that."""
        left = self.journal.journal
        waiting = CollectionName(self.task.target.database, left.aside)
        if not self.has_begun or not left.aside:
            return
        old = existing(self.context, [waiting]).get(waiting)
        if old is None or old.id != left.replaces:
            return
        try:
            self._retire(waiting, old)
        except MbkError as error:
            self.context.run.notice(
                "replaced-left",
                "{collection} is restored, but the collection that it replaces is still there as {name}: run the same "
                "restore again: {reason}",
                str(self.task.target),
                name=waiting,
                reason=error,
            )
            raise

    def _retire(self, waiting: CollectionName, old: CollectionInfo) -> None:
        run, definitions = self.context.run, self.context.milvus.definitions
        database, name = self.task.target.database, self.task.target.collection
        for alias in old.aliases:
            run.retry.patiently(
                PATIENCE,
                f"move alias {alias} to {self.task.target}",
                definitions.alter_alias,
                database,
                name,
                alias,
            )
        if old.load_state not in ("", NOT_LOADED):
            # Who asked for the collection before the exchange still gets the answer. A run that is stopped does not wait.
            run.cancelled.wait(self.context.pace.drain)
        run.retry.patiently(
            PATIENCE, f"drop {waiting}", definitions.drop_collection, database, waiting.collection
        )

    def _load_like(self, old: CollectionInfo) -> None:
        """Who searches the old collection goes on with the new one."""
        if old.load_state in ("", NOT_LOADED):
            return
        milvus, run, label = self.context.milvus, self.context.run, str(self.task.target)
        database, made = self.task.made.database, self.task.made.collection
        new = run.retry.call(f"describe {self.task.made}", milvus.inventory.describe, database, made)
        if new.load_state == LOADED:
            return
        if not new.indexes:
            run.notice(
                "replaced-unloaded",
                "{collection} is loaded; what replaces it has no index and will not be: build the indexes with "
                "--rebuild_index",
                label,
            )
            return
        present = {part.name for part in new.partitions}
        loaded = sorted(
            part for part, state in old.partition_load_states.items() if state == LOADED and part in present
        )
        whole = len(loaded) in (0, len(old.partitions))
        try:
            run.retry.patiently(
                PATIENCE,
                f"load {self.task.made}",
                milvus.definitions.load,
                database,
                made,
                partitions=[] if whole else loaded,
                replicas=max(1, old.replicas),
                resource_groups=old.resource_groups,
            )
            while (
                run.retry.call(
                    f"get the loading progress of {self.task.made}",
                    milvus.definitions.load_progress,
                    database,
                    made,
                )
                < 100
            ):
                run.sleep(self.context.pace.load)
        except MilvusError as error:
            raise MilvusError(
                "{collection} is loaded, and what replaces it could not be loaded beside it: {reason}",
                code="replacement-not-loaded",
                collection=label,
                reason=error.message,
                hint="release {collection} and run again: then the new one takes its place without being loaded",
            ) from error
