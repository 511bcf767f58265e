"""A copy that turns out to differ from its source is made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mbk.engine.runtime.run import Run
from mbk.errors import VerificationFailed

T = TypeVar("T")

#: Attempts at a copy that turns out to differ from its source.
TRIES = 3


def tried(run: Run, copy: Callable[[], T]) -> T:
    """What ``copy`` returns. Raises what it raises, `VerificationFailed` only if each of the attempts does."""
    for _ in range(TRIES - 1):
        try:
            return copy()
        except VerificationFailed as error:
            tell_again(run, error)
    return copy()


def tell_again(run: Run, error: VerificationFailed, count: int = 1) -> None:
    run.notice("copied-again", "{reason}; objects copied again: {count}", reason=error.message, count=count)
