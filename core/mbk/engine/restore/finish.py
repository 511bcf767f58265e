"""What a restore does once the rows are imported: wait for indexes, restore aliases and load state, count rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.pace import Pace, growing
from mbk.engine.runtime.run import Run
from mbk.errors import MbkError, MilvusError
from mbk.frozen import frozen
from mbk.model.events import IndexProgressed, LoadProgressed
from mbk.model.options import RestoreOptions
from mbk.model.records import LOADED
from mbk.ports.milvus.server import Milvus

#: Phase, what to do, and how to tell that it failed.
_Step = tuple[str, Callable[[RestoreTask], None], Callable[[str, MbkError], None]]


@frozen
class Finish:
    """The data is imported by now: a failure here is a notice and undoes nothing."""

    milvus: Milvus
    run: Run
    options: RestoreOptions
    pace: Pace

    def run_all(self, task: RestoreTask) -> list[str]:
        """What failed, for the report. A collection that is made beside another gets its aliases when it is in its place."""
        steps: list[_Step] = []
        if self.options.rebuild_index and self.options.wait_index:
            steps.append(("index", self._wait_for_indexes, self._notice_index))
        if self.options.aliases and not task.beside:
            steps.append(("aliases", self._create_aliases, self._notice_aliases))
        if self.wants_load(task):
            steps.append(("load", self._load, self._notice_load))
        return self._run(steps, task)

    def add_aliases(self, task: RestoreTask) -> list[str]:
        """As `run_all`, of a collection that has taken its place."""
        steps: list[_Step] = [("aliases", self._create_aliases, self._notice_aliases)]
        return self._run(steps, task) if self.options.aliases else []

    def _run(self, steps: Iterable[_Step], task: RestoreTask) -> list[str]:
        notes = []
        for phase, step, notice in steps:
            self.run.phase(phase, str(task.target))
            try:
                step(task)
            except MbkError as error:
                if concerns_everything(error):
                    raise
                notes.append(f"{phase}: {error.message}")
                notice(str(task.target), error)
        return notes

    def _notice_index(self, collection: str, error: MbkError) -> None:
        self.run.notice(
            "index-failed", "{collection}: indexes are not ready: {reason}", collection, reason=error
        )

    def _notice_aliases(self, collection: str, error: MbkError) -> None:
        self.run.notice(
            "aliases-failed", "{collection}: aliases were not created: {reason}", collection, reason=error
        )

    def _notice_load(self, collection: str, error: MbkError) -> None:
        self.run.notice("load-failed", "{collection} was not loaded: {reason}", collection, reason=error)

    def rows_differ(self, task: RestoreTask, *, present: int, expected: int) -> str:
        """Rows were written or deleted while the backup was made; returns the note for the report."""
        note = f"the backup counted {expected} rows: was the collection being written to?"
        self.run.notice(
            "rows-differ",
            "{collection} has {present} rows; {note}",
            str(task.target),
            present=present,
            expected=expected,
            note=note,
        )
        return note

    def wants_load(self, task: RestoreTask) -> bool:
        return self.options.load and task.record.load_state == LOADED

    def live_rows(self, task: RestoreTask) -> int | None:
        """The rows that a query sees, if the whole collection has just been loaded."""
        if not self.wants_load(task) or _loaded_partitions(task):
            return None
        try:
            return self.milvus.rows.count(task.made.database, task.made.collection)
        except MbkError:
            return None

    def _wait_for_indexes(self, task: RestoreTask) -> None:
        for pause in growing(self.pace.first, self.pace.index):
            states = self.run.retry.call(
                f"get the index states of {task.target}",
                self.milvus.definitions.index_states,
                task.made.database,
                task.made.collection,
            )
            failed = next((state for state in states if state.failed), None)
            if failed is not None:
                raise MilvusError(
                    "index {index} of {collection} failed: {reason}",
                    code="index-build-failed",
                    index=failed.name,
                    collection=task.target,
                    reason=failed.failed,
                )
            self.run.emit(
                IndexProgressed(
                    collection=str(task.target),
                    rows=sum(state.indexed_rows for state in states),
                    total=sum(state.total_rows for state in states),
                )
            )
            if all(state.finished for state in states):
                return
            self.run.sleep(pause)

    def _create_aliases(self, task: RestoreTask) -> None:
        database, name = task.made.database, task.made.collection
        present = self.milvus.inventory.describe(database, name).aliases if task.record.aliases else ()
        for alias in task.record.aliases:
            if alias not in present:
                self.milvus.definitions.create_alias(database, name, alias)

    def _load(self, task: RestoreTask) -> None:
        """With the replicas and resource groups of the source; if Milvus refuses these, without, and with a notice."""
        database, name = task.made.database, task.made.collection
        partitions = _loaded_partitions(task)
        replicas, groups = max(1, task.record.replica_number), task.record.resource_groups
        try:
            self.milvus.definitions.load(
                database, name, partitions=partitions, replicas=replicas, resource_groups=groups
            )
        except MilvusError as error:
            if replicas == 1 and not groups:
                raise
            self.milvus.definitions.load(database, name, partitions=partitions)
            self.run.notice(
                "load-reduced",
                "{collection} is loaded with one replica in the default resource group: {reason}",
                str(task.target),
                reason=error.message,
            )
        for pause in growing(self.pace.first, self.pace.load):
            percent = self.milvus.definitions.load_progress(database, name)
            self.run.emit(LoadProgressed(collection=str(task.target), percent=percent))
            if percent >= 100:
                return
            self.run.sleep(pause)


def _loaded_partitions(task: RestoreTask) -> list[str]:
    """Empty if all are loaded."""
    parts = task.record.partition_backups
    loaded = [part.partition_name for part in parts if part.load_state == LOADED]
    return [] if len(loaded) == len(parts) else loaded
