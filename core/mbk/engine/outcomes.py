"""What became of the collections that are not in a backup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mbk.engine.run import Run
from mbk.errors import MbkError
from mbk.model.backup import FAILED, SKIPPED, CollectionOutcome
from mbk.model.events import CollectionFinished


@dataclass(slots=True)
class Outcomes:
    """Gathers failed and skipped collections, and tells of each as it comes. Threads may share it."""

    run: Run
    items: list[CollectionOutcome] = field(default_factory=list)
    errors: dict[str, MbkError] = field(default_factory=dict)

    @property
    def has_skipped(self) -> bool:
        return any(item.outcome == SKIPPED for item in self.items)

    @property
    def failed(self) -> dict[str, str]:
        """Label -> why."""
        return {item.source: item.error or "" for item in self.items if item.outcome == FAILED}

    def fail(self, label: str, error: MbkError) -> None:
        self.errors[label] = error
        self.items.append(CollectionOutcome(label, label, FAILED, error=str(error)))
        self.run.emit(CollectionFinished(collection=label, outcome=FAILED, error=str(error)))

    def skip(self, label: str, why: str) -> None:
        self.items.append(CollectionOutcome(label, label, SKIPPED, notes=(why,)))
        self.run.emit(CollectionFinished(collection=label, outcome=SKIPPED, error=why))

    def require(self, left: Sequence[object]) -> None:
        """Raises the first failure when it left nothing."""
        if not left and self.errors:
            raise next(iter(self.errors.values()))
