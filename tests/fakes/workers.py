"""Workers of this process: what goes to them and comes back is pickled, as if they were elsewhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mbk.engine.runtime.executor import Job
from mbk.engine.runtime.run import Run
from mbk.errors import MbkError
from mbk.ports.storage import Storage, StorageRef


@dataclass
class HereWorkers:
    """An `Executor` and its `Workers`. ``sent``: the batches, in order; ``before`` and ``after`` may change them
    and what comes back."""

    references: Callable[[Storage], StorageRef | None]
    count: int = 2
    width: int = 2
    sent: list[Any] = field(default_factory=list)
    before: Callable[[Any], Any] = lambda batch: batch
    after: Callable[[Any], Any] = lambda done: done
    closed: bool = False
    #: What `require` raises.
    refusal: MbkError | None = None

    def reference(self, storage: Storage) -> StorageRef | None:
        return self.references(storage)

    def require(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def start(self, job: Callable[[int], Job[Any, Any]], run: Run) -> HereWorkers:
        self.job = pickle.loads(pickle.dumps(job(self.count)))
        self._bench = self.job.open()
        return self

    def do(self, batch: Any) -> Any:
        self.sent.append(batch)
        done = self._bench.do(pickle.loads(pickle.dumps(self.before(batch))))
        return self.after(pickle.loads(pickle.dumps(done)))

    def close(self) -> None:
        self._bench.close()
        self.closed = True
