"""What a run and a process of its own tell each other: pickles over the process's standard input and output.

Both pipes belong to these two processes alone, so that secrets may go through them.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from mbk.errors import MbkError
from mbk.frozen import frozen


@frozen
class Start:
    """The first message. ``job`` is a pickled `mbk.engine.runtime.executor.Job`, ``level`` that of the log."""

    job: bytes = field(repr=False)
    level: int


@frozen
class Work:
    number: int
    batch: Any


@frozen
class Cancel:
    """What is being done ends soon."""


@frozen
class Close:
    """Nothing follows."""


@frozen
class Refused:
    """The process cannot do the job."""

    error: MbkError


@frozen
class Worked:
    number: int
    done: Any


@frozen
class Logged:
    name: str
    level: int
    message: str
