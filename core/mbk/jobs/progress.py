"""Turns the engine's events into a job's progress. Cheap enough for millions of objects."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from mbk.model.events import (
    CollectionFinished,
    Event,
    ImportProgressed,
    Notice,
    ObjectCopied,
    ObjectVerified,
    PhaseStarted,
    RetryScheduled,
    WorkPlanned,
)
from mbk.model.jobs import CollectionProgress, Progress
from mbk.model.reports import RunReport
from mbk.model.states import CollectionState

#: Where the percentage starts, and its maximum until the job is done.
STARTED, NEARLY = 1, 99


class Meter:
    """Counts one attempt of a job. One event at a time; several threads may read it."""

    def __init__(self, percent: int = 0, *, restores: bool = False) -> None:
        self._restores = restores
        self._lock = threading.Lock()
        self._percent = max(percent, STARTED)
        self._phase = ""
        self._objects = self._objects_total = self._bytes = self._bytes_total = self._retries = 0
        self._planned: dict[str, int] = {}
        self._imports: dict[str, dict[str, int]] = {}
        self._collections: dict[str, CollectionProgress] = {}
        self._notices: list[str] = []

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case ObjectCopied() | ObjectVerified():
                    self._objects += 1
                    self._bytes += event.size
                    self._add(event.collection, objects=1, size=event.size)
                case WorkPlanned():
                    self._objects_total += event.objects
                    self._bytes_total += event.size
                    self._planned[event.collection] = self._planned.get(event.collection, 0) + event.size
                case ImportProgressed():
                    self._imports.setdefault(event.collection, {})[event.job] = event.percent
                case PhaseStarted():
                    self._phase = event.phase
                    if event.collection:
                        self._begin(event.collection)
                case CollectionFinished():
                    self._end(event)
                case RetryScheduled():
                    self._retries += 1
                case Notice() if event.message not in self._notices:
                    self._notices.append(event.message)

    def progress(self) -> Progress:
        with self._lock:
            self._percent = max(self._percent, min(NEARLY, int(100 * self._share())))
            return Progress(
                percent=self._percent,
                phase=self._phase,
                objects=self._objects,
                objects_total=max(self._objects_total, self._objects),
                bytes=self._bytes,
                bytes_total=max(self._bytes_total, self._bytes),
                retries=self._retries,
            )

    def collections(self) -> tuple[CollectionProgress, ...]:
        with self._lock:
            return tuple(
                replace(item, percent=int(100 * self._done(name)))
                if item.state == CollectionState.RUNNING
                else item
                for name, item in self._collections.items()
            )

    def notices(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._notices)

    # -- under the lock ------------------------------------------------------------------------------------------

    def _share(self) -> float:
        """The share that is done. All collections weigh the same, since their sizes are not known beforehand."""
        if not self._collections:
            return self._bytes / self._bytes_total if self._bytes_total else 0.0
        return sum(map(self._done, self._collections)) / len(self._collections)

    def _done(self, name: str) -> float:
        """0 to 1. If data is staged and then imported, each step is one half."""
        if self._collections[name].state != CollectionState.RUNNING:
            return 1.0
        planned, jobs = self._planned.get(name, 0), self._imports.get(name)
        copied = min(1.0, self._collections[name].bytes / planned) if planned else 0.0
        if not jobs:
            return copied / 2 if self._restores else copied
        imported = sum(jobs.values()) / (100 * len(jobs))
        return (copied + imported) / 2 if planned else imported

    def _begin(self, name: str) -> None:
        if name not in self._collections:
            self._collections[name] = CollectionProgress(
                source=name, target=name, state=CollectionState.RUNNING, started=time.time()
            )

    def _add(self, name: str, *, objects: int, size: int) -> None:
        collection = self._collections.get(name)
        if collection is not None:
            self._collections[name] = replace(
                collection, objects=collection.objects + objects, bytes=collection.bytes + size
            )

    def _end(self, event: CollectionFinished) -> None:
        self._begin(event.collection)
        self._collections[event.collection] = replace(
            self._collections[event.collection],
            state=event.outcome,
            percent=100 if event.outcome.has_ended else 0,
            error=event.error,
            finished=time.time(),
        )


def outcomes(report: RunReport, seen: tuple[CollectionProgress, ...]) -> tuple[CollectionProgress, ...]:
    """The collections as reported, with the times from the events."""
    times = {item.target: item for item in seen}
    return tuple(
        CollectionProgress(
            source=item.source,
            target=item.target,
            state=item.outcome,
            percent=100 if item.outcome.has_ended else 0,
            objects=item.objects or 0,
            bytes=item.size or 0,
            rows_expected=item.rows_expected,
            rows_present=item.rows_present,
            error=item.error,
            notes=item.notes,
            started=times[item.target].started if item.target in times else 0.0,
            finished=times[item.target].finished if item.target in times else 0.0,
        )
        for item in report.collections
    )
