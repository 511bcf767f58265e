"""The metrics of every run, of a command or of a server."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from mbk.model.events import Event, ObjectCopied, ObjectVerified, PhaseStarted, RetryScheduled

#: Seconds, from a quick backup of metadata to a day of copying.
BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)


class Counters:
    """Counts runs, copied objects, retries and durations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter("mbk_runs", "Runs that have ended", ["kind", "state"], registry=registry)
        self._objects = Counter("mbk_copied_objects", "Objects copied", ["kind", "way"], registry=registry)
        self._bytes = Counter("mbk_copied_bytes", "Bytes copied", ["kind", "way"], registry=registry)
        self._verified = Counter(
            "mbk_verified_objects", "Objects read and checked", ["kind"], registry=registry
        )
        self._verified_bytes = Counter(
            "mbk_verified_bytes", "Bytes read and checked", ["kind"], registry=registry
        )
        self._retries = Counter("mbk_retries", "Calls that were tried again", ["kind"], registry=registry)
        self._seconds = Histogram(
            "mbk_run_duration_seconds", "How long runs took", ["kind"], registry=registry, buckets=BUCKETS
        )
        self._phases = Histogram(
            "mbk_phase_duration_seconds",
            "How long the phases of collections took",
            ["kind", "phase"],
            registry=registry,
            buckets=BUCKETS,
        )

    def event(self, kind: str, event: Event) -> None:
        match event:
            case ObjectCopied():
                self._objects.labels(kind, event.how).inc()
                self._bytes.labels(kind, event.how).inc(event.size)
            case ObjectVerified():
                self._verified.labels(kind).inc()
                self._verified_bytes.labels(kind).inc(event.size)
            case RetryScheduled():
                self._retries.labels(kind).inc()

    def phase(self, kind: str, phase: str, seconds: float) -> None:
        self._phases.labels(kind, phase).observe(seconds)

    def ended(self, kind: str, state: str, seconds: float) -> None:
        self._runs.labels(kind, state).inc()
        self._seconds.labels(kind).observe(seconds)


class Phases:
    """Measures the phases of one run: a collection's phase lasts until its next one, or until the run ends."""

    def __init__(self, done: Callable[[str, float], None]) -> None:
        self._done = done
        self._started: dict[str, tuple[str, float]] = {}

    def event(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._close(event.collection)
            self._started[event.collection] = (event.phase, time.monotonic())

    def end(self) -> None:
        for collection in [*self._started]:
            self._close(collection)

    def _close(self, collection: str) -> None:
        if collection in self._started:
            phase, started = self._started.pop(collection)
            if phase != "waiting":
                self._done(phase, time.monotonic() - started)
