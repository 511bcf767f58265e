"""Turns the events of a run into its progress, for terminals, pipes and jobs alike."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from mbk.model.events import (
    CollectionFinished,
    Event,
    ImportProgressed,
    IndexProgressed,
    LoadProgressed,
    Notice,
    ObjectCopied,
    ObjectsDeleted,
    ObjectVerified,
    PhaseStarted,
    RetryScheduled,
    WorkExpected,
    WorkPlanned,
)
from mbk.model.jobs import CollectionProgress, Progress, Step
from mbk.model.states import CollectionState

#: Where the percentage starts, and its maximum until the job is done.
STARTED, NEARLY = 1, 99
#: The rate is that of so many seconds: long enough that one large object does not make it jump.
WINDOW = 30.0
#: A time left is told after so many seconds of moving bytes, and this part of them: before, the rate is that of a start.
SETTLED, TOLD = 10.0, 0.02
#: Phases in which Milvus works and no byte moves through mbk or between storages: the rate would tell nothing but the waiting.
MILVUS_WORKS = frozenset({"flush", "snapshot", "create", "import", "index", "load", "count", "exchange"})
#: What an earlier run or backup has copied says nothing about how fast this one is.
_KEPT = frozenset({"kept", "reused"})


class Meter:
    """Counts one run, or one attempt of a job. One event at a time; several threads may read it. Cheap enough for millions of
    objects. ``clock``: seconds that only grow."""

    def __init__(
        self, percent: int = 0, *, restores: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._restores = restores
        self._clock = clock
        self._lock = threading.Lock()
        self._percent = max(percent, STARTED)
        self._phase = ""
        self._objects = self._bytes = self._retries = self._moved = 0
        self._done_objects: dict[str, int] = {}
        self._done_bytes: dict[str, int] = {}
        self._expected: dict[str, WorkExpected] = {}
        self._planned: dict[str, tuple[int, int]] = {}
        self._imports: dict[str, dict[str, int]] = {}
        self._steps: dict[str, Step] = {}
        self._collections: dict[str, CollectionProgress] = {}
        self._notices: list[str] = []
        self._began: float | None = None
        #: Times and the bytes that were moved by then; a few within the window.
        self._samples: deque[tuple[float, int]] = deque()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case ObjectCopied() | ObjectVerified():
                    self._count(event)
                case WorkPlanned():
                    objects, size = self._planned.get(event.collection, (0, 0))
                    self._planned[event.collection] = (objects + event.objects, size + event.size)
                case WorkExpected():
                    self._expected[event.collection] = event
                case ObjectsDeleted():
                    self._objects += event.objects
                    self._done_objects[""] = self._done_objects.get("", 0) + event.objects
                case ImportProgressed():
                    self._note_import(event)
                case IndexProgressed():
                    self._step(event.collection, "index", event.rows, event.total)
                case LoadProgressed():
                    self._step(event.collection, "load", event.percent, 100)
                case PhaseStarted():
                    self._begin(event)
                case CollectionFinished():
                    self._end(event)
                case RetryScheduled():
                    self._retries += 1
                case Notice() if event.message not in self._notices:
                    self._notices.append(event.message)

    def progress(self) -> Progress:
        with self._lock:
            self._percent = max(self._percent, min(NEARLY, int(100 * self._share())))
            objects_total, bytes_total = self._totals()
            jobs, jobs_total = self._jobs()
            rate = self._rate() if self._moves(bytes_total) else 0.0
            return Progress(
                percent=self._percent,
                phase=self._phase,
                objects=self._objects,
                objects_total=objects_total,
                bytes=self._bytes,
                bytes_total=bytes_total,
                retries=self._retries,
                collections=sum(not _is_running(item) for item in self._collections.values()),
                collections_total=len({*self._collections, *self._expected} - {""}),
                jobs=jobs,
                jobs_total=jobs_total,
                rate=round(rate),
                seconds_left=self._left(rate, bytes_total) if jobs == jobs_total else None,
                steps=tuple(map(self._with_jobs, self._running())),
            )

    def collections(self) -> tuple[CollectionProgress, ...]:
        with self._lock:
            return tuple(
                replace(item, percent=int(100 * self._done(name))) if _is_running(item) else item
                for name, item in self._current().items()
            )

    def notices(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._notices)

    # -- under the lock ------------------------------------------------------------------------------------------

    def _count(self, event: ObjectCopied | ObjectVerified) -> None:
        name = event.collection
        self._objects += 1
        self._bytes += event.size
        self._done_objects[name] = self._done_objects.get(name, 0) + 1
        self._done_bytes[name] = self._done_bytes.get(name, 0) + event.size
        if isinstance(event, ObjectVerified) or event.how not in _KEPT:
            if self._began is None:
                self._began = self._clock()
                self._samples.append((self._began, 0))
            self._moved += event.size

    def _totals(self) -> tuple[int, int]:
        """Of what is known: as was expected, as was planned, or as was done, whichever is more; of what has ended, what was done."""
        objects = size = 0
        for name in {*self._expected, *self._planned, *self._done_bytes, *self._done_objects}:
            done = self._done_objects.get(name, 0), self._done_bytes.get(name, 0)
            collection = self._collections.get(name)
            if not name and name in self._expected and self._expected[name].objects is None:
                continue  # nobody knows how many there are
            if collection is None or _is_running(collection):
                planned = self._planned.get(name, (0, 0))
                told = self._expected.get(name)
                expected = (told.objects or 0, told.size or 0) if told else (0, 0)
                done = max(done[0], planned[0], expected[0]), max(done[1], planned[1], expected[1])
            objects, size = objects + done[0], size + done[1]
        return objects, size

    def _jobs(self) -> tuple[int, int]:
        done = total = 0
        for name in {*self._imports, *self._expected}:
            finished, known = self._jobs_of(name)
            done, total = done + finished, total + known
        return done, total

    def _jobs_of(self, name: str) -> tuple[int, int]:
        jobs = self._imports.get(name, {})
        finished = sum(percent >= 100 for percent in jobs.values())
        told = self._expected.get(name)
        collection = self._collections.get(name)
        if collection is not None and not _is_running(collection):
            return finished, finished
        return finished, max(len(jobs), told.jobs if told else 0)

    def _running(self) -> list[Step]:
        """In the order in which they began."""
        return [
            step
            for name, step in self._steps.items()
            if step.phase != "waiting" and name in self._collections and _is_running(self._collections[name])
        ]

    def _moves(self, total: int) -> bool:
        """Whether there is something left to move, and somebody who may be moving it."""
        phases = {step.phase for step in self._running()}
        return not (0 < total <= self._bytes or (phases and phases <= MILVUS_WORKS))

    def _rate(self) -> float:
        """Bytes a second of the last `WINDOW` seconds, waits included."""
        if not self._samples:
            return 0.0
        now = self._clock()
        if now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, self._moved))
        while len(self._samples) > 2 and now - self._samples[1][0] > WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        return (self._moved - before) / max(now - since, 1.0)

    def _left(self, rate: float, total: int) -> int | None:
        """None as long as nobody can know: not all totals are told, or the rate is that of a start."""
        if self._began is None or rate < 1 or self._restores or total <= self._bytes:
            return None
        running = [name for name, item in self._collections.items() if _is_running(item)]
        if any(name not in self._expected or self._expected[name].size is None for name in running):
            return None
        since = self._clock() - self._began
        return (
            round((total - self._bytes) / rate) if since >= SETTLED and self._bytes >= TOLD * total else None
        )

    def _share(self) -> float:
        """The share that is done: by bytes where all are expected, else all collections weigh the same."""
        if not self._collections:
            objects, size = self._totals()
            return self._bytes / size if size else self._objects / objects if objects else 0.0
        sizes = {name: told.size or 0 for name, told in self._expected.items() if name}
        weigh = len(sizes) >= len(self._collections) and all(sizes.values())
        weights = {name: sizes.get(name, 1) if weigh else 1 for name in self._collections}
        return sum(weight * self._done(name) for name, weight in weights.items()) / sum(weights.values())

    def _done(self, name: str) -> float:
        """0 to 1. If data is staged and then imported, each step is one half."""
        if not _is_running(self._collections[name]):
            return 1.0
        told = self._expected.get(name)
        planned = max(self._planned.get(name, (0, 0))[1], (told.size if told else 0) or 0)
        copied = min(1.0, self._done_bytes.get(name, 0) / planned) if planned else 0.0
        _, jobs = self._jobs_of(name)
        if not jobs:
            return copied / 2 if self._restores else copied
        imported = sum(self._imports.get(name, {}).values()) / (100 * jobs)
        return (copied + imported) / 2 if planned else imported

    def _note_import(self, event: ImportProgressed) -> None:
        jobs = self._imports.setdefault(event.collection, {})
        if event.failed:
            jobs.pop(event.job, None)
        else:
            jobs[event.job] = event.percent

    def _step(self, name: str, phase: str, done: int, total: int) -> None:
        self._steps[name] = Step(name, phase, done, total)

    def _with_jobs(self, step: Step) -> Step:
        if step.phase == "import":
            done, total = self._jobs_of(step.collection)
            told = sum(self._imports.get(step.collection, {}).values())
            return replace(step, done=done, total=total, percent=told // total if total else None)
        return step

    def _current(self) -> Mapping[str, CollectionProgress]:
        return {
            name: replace(item, objects=self._done_objects.get(name, 0), bytes=self._done_bytes.get(name, 0))
            for name, item in self._collections.items()
        }

    def _begin(self, event: PhaseStarted) -> None:
        name = event.collection
        if event.phase != "waiting":
            self._phase = event.phase
            self._steps.pop(name, None)
            self._steps[name] = Step(name, event.phase)
        if name:
            self._require(name)

    def _require(self, name: str) -> None:
        if name not in self._collections:
            self._collections[name] = CollectionProgress(
                source=name, target=name, state=CollectionState.RUNNING, started=time.time()
            )

    def _end(self, event: CollectionFinished) -> None:
        self._require(event.collection)
        self._steps.pop(event.collection, None)
        self._collections[event.collection] = replace(
            self._collections[event.collection],
            state=event.outcome,
            percent=100 if CollectionState(event.outcome).has_ended else 0,
            error=event.error,
            finished=time.time(),
        )


def _is_running(item: CollectionProgress) -> bool:
    return item.state == CollectionState.RUNNING
