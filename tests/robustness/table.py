"""What a sweep tries, and counts by row and column."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


def sample(trials: Sequence[T], count: int, seed: int) -> Sequence[T]:
    """``count`` of them, always the same ones; 0: all."""
    if not count or count >= len(trials):
        return trials
    return random.Random(seed).sample(trials, count)


@dataclass(slots=True)
class Table:
    """``good`` of ``all`` for each row and column; ``missed`` names those that were not."""

    title: str
    missed: list[str] = field(default_factory=list)
    _counts: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def count(self, row: str, column: str, *, good: bool, what: str) -> None:
        cell = self._counts[row, column]
        cell[0] += good
        cell[1] += 1
        if not good:
            self.missed.append(f"{column}: {row}: {what}")

    def __str__(self) -> str:
        rows = list(dict.fromkeys(row for row, _ in self._counts))
        columns = list(dict.fromkeys(column for _, column in self._counts))
        width = max(map(len, rows), default=0)
        lines = [self.title, f"{'':{width}}  " + "  ".join(f"{column:>9}" for column in columns)]
        for row in rows:
            cells = [self._counts.get((row, column)) for column in columns]
            told = ["-" if cell is None else f"{cell[0]}/{cell[1]}" for cell in cells]
            lines.append(f"{row:{width}}  " + "  ".join(f"{text:>9}" for text in told))
        return "\n".join(lines)
