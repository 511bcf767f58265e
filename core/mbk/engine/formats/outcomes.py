"""The outcomes of collections, in the backup or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mbk.engine.formats.base import BackupWorker
from mbk.engine.repository.collections import CollectionBackup, label_of
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.errors import CollectionNotFound, MbkError
from mbk.model.events import CollectionFinished
from mbk.model.reports import CollectionOutcome
from mbk.model.states import CollectionState
from mbk.ports.milvus.values import CollectionInfo


@dataclass(slots=True)
class Outcomes:
    """Collects failed and skipped collections, with an event for each. Several threads may call it."""

    run: Run
    items: list[CollectionOutcome] = field(default_factory=list)
    errors: dict[str, MbkError] = field(default_factory=dict)

    @property
    def has_skipped(self) -> bool:
        return any(item.outcome == CollectionState.SKIPPED for item in self.items)

    @property
    def failed(self) -> dict[str, str]:
        """``db.coll`` -> reason."""
        return {
            item.source: item.error or "" for item in self.items if item.outcome == CollectionState.FAILED
        }

    def fail(self, label: str, error: MbkError) -> None:
        self.errors[label] = error
        self.items.append(CollectionOutcome(label, label, CollectionState.FAILED, error=str(error)))
        self.run.emit(CollectionFinished(collection=label, outcome=CollectionState.FAILED, error=str(error)))

    def skip(self, label: str, why: str) -> None:
        self.items.append(CollectionOutcome(label, label, CollectionState.SKIPPED, notes=(why,)))
        self.run.emit(CollectionFinished(collection=label, outcome=CollectionState.SKIPPED, error=why))

    def require(self, left: Sequence[object]) -> None:
        """Raises the first failure if nothing is left."""
        if not left and self.errors:
            raise next(iter(self.errors.values()))

    def gather(
        self,
        worker: BackupWorker,
        infos: Sequence[CollectionInfo],
        pool: Pool,
        *,
        fail_fast: bool,
        undo: Callable[[int], None] = lambda _collection: None,
    ) -> list[CollectionBackup]:
        """The finished collections, in order. ``undo`` is called for each of the others."""

        def one(info: CollectionInfo) -> CollectionBackup | None:
            label = label_of(info)
            try:
                backup = worker.back_up(info)
            except CollectionNotFound:
                undo(info.id)
                self.skip(label, "dropped during the backup")
                return None
            except MbkError as error:
                if fail_fast or concerns_everything(error):
                    raise
                undo(info.id)
                self.fail(label, error)
                return None
            self.run.emit(CollectionFinished(collection=label, outcome=CollectionState.DONE))
            return backup

        done = [backup for backup in pool.map(one, infos) if backup is not None]
        order = {info.id: index for index, info in enumerate(infos)}
        return sorted(done, key=lambda backup: order[backup.record.collection_id])
