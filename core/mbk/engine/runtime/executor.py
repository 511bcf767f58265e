"""Work that other processes do for a run, on this machine or on others.

The run sends a *job* once, by value, and then *batches* of it. A batch may be done more than once, because a worker that
dies loses what it was doing: only work that may be repeated is sent, and nothing that the fence guards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from mbk.engine.runtime.run import Run
from mbk.ports.storage import Storage, StorageRef

Batch = TypeVar("Batch")
Done = TypeVar("Done")
BatchIn = TypeVar("BatchIn", contravariant=True)
DoneOut = TypeVar("DoneOut", covariant=True)


class Bench(Protocol[BatchIn, DoneOut]):
    """Where a worker does the batches of one job. Several threads may call it."""

    def do(self, batch: BatchIn) -> DoneOut:
        """Errors are in the result: what is raised is a bug."""

    def cancel(self) -> None:
        """Makes `do` end soon, for good."""

    def close(self) -> None:
        """Gives connections back, once no batch is left."""


class Job(Protocol[BatchIn, DoneOut]):
    """All that a worker needs to know of a run: frozen, picklable, its repr without a secret."""

    @property
    def id(self) -> str: ...

    def open(self) -> Bench[BatchIn, DoneOut]:
        """In the worker's process. Raises `MbkError` where the worker cannot do the job."""


class Workers(Protocol[BatchIn, DoneOut]):
    """The workers of one job. Several threads may call it. ``width``: batches that are worth having out at once."""

    width: int

    def do(self, batch: BatchIn) -> DoneOut:
        """Waits until a worker has done the batch; one whose worker died is done again by another.

        Raises `Interrupted` if the run is cancelled, and `MbkError` where there is no worker that can do it.
        """

    def close(self) -> None:
        """Leaves nothing running; idempotent."""


class Executor(Protocol):
    """What the configuration chose; it starts workers."""

    def reference(self, storage: Storage) -> StorageRef | None:
        """What workers open this storage with; None if only this process can use it."""

    def require(self) -> None:
        """Raises what can be known to keep it from starting workers. Before a run writes anything."""

    def start(self, job: Callable[[int], Job[Batch, Done]], run: Run) -> Workers[Batch, Done]:
        """Starts workers, or finds them, without waiting for them. ``job`` gets the number of workers, for its share
        of what the run may use. Raises `ConfigError` for workers that must not be told secrets."""
