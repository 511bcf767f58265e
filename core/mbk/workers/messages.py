"""What a run and a process of its own tell each other: pickles over the process's standard input and output.

Both pipes belong to these two processes alone, so that secrets may go through them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mbk.errors import MbkError


@dataclass(frozen=True, slots=True)
class Start:
    """The first message. ``job`` is a pickled `mbk.engine.runtime.executor.Job`, ``level`` that of the log."""

    job: bytes = field(repr=False)
    level: int


@dataclass(frozen=True, slots=True)
class Work:
    number: int
    batch: Any


@dataclass(frozen=True, slots=True)
class Cancel:
    """What is being done ends soon."""


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing follows."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The process cannot do the job."""

    error: MbkError


@dataclass(frozen=True, slots=True)
class Worked:
    number: int
    done: Any


@dataclass(frozen=True, slots=True)
class Logged:
    name: str
    level: int
    message: str
