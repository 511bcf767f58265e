"""Figures for Prometheus: of the jobs, of what they copied, and of the newest good backup of each collection."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mbk.errors import MbkError
from mbk.jobs.model import Job
from mbk.jobs.sessions import Sessions
from mbk.model.events import Event, ObjectCopied, PhaseStarted, RetryScheduled
from mbk.model.reports import BackupSummary

log = logging.getLogger(__name__)
#: Seconds from a quick metadata backup to a day of copying.
BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
#: Seconds that a listing of the backups counts, and that one answer may read unknown backups.
FRESH, BUDGET = 60.0, 3.0


class Counters:
    """What runs count, whoever runs them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter("mbk_runs", "Runs that have ended", ["kind", "state"], registry=registry)
        self._objects = Counter("mbk_copied_objects", "Objects copied", ["kind", "way"], registry=registry)
        self._bytes = Counter("mbk_copied_bytes", "Bytes copied", ["kind", "way"], registry=registry)
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
            case RetryScheduled():
                self._retries.labels(kind).inc()

    def phase(self, kind: str, phase: str, seconds: float) -> None:
        self._phases.labels(kind, phase).observe(seconds)

    def ended(self, kind: str, state: str, seconds: float) -> None:
        self._runs.labels(kind, state).inc()
        self._seconds.labels(kind).observe(seconds)


class Phases:
    """Measures the phases of one run: a phase of a collection lasts until its next one, or until the end."""

    def __init__(self, done: Callable[[str, float], None]) -> None:
        self._done = done
        self._begun: dict[str, tuple[str, float]] = {}

    def event(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._close(event.collection)
            self._begun[event.collection] = (event.phase, time.monotonic())

    def end(self) -> None:
        for collection in [*self._begun]:
            self._close(collection)

    def _close(self, collection: str) -> None:
        if collection in self._begun:
            phase, begun = self._begun.pop(collection)
            if phase != "waiting":
                self._done(phase, time.monotonic() - begun)


class Figures:
    """The server's figures; watches its jobs."""

    def __init__(self, sessions: Sessions) -> None:
        self.registry = CollectorRegistry()
        self._counters = Counters(self.registry)
        self._phases: dict[str, Phases] = {}
        self._newest = Newest(sessions)
        self.registry.register(self._newest)

    def count_jobs(self, counts: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self.registry.register(_Jobs(counts))

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def started(self, job: Job) -> None:
        self._phases[job.id] = Phases(lambda phase, seconds: self._counters.phase(job.kind, phase, seconds))

    def event(self, job: Job, event: Event) -> None:
        self._counters.event(job.kind, event)
        if (phases := self._phases.get(job.id)) is not None:
            phases.event(event)

    def finished(self, job: Job) -> None:
        if (phases := self._phases.pop(job.id, None)) is not None:
            phases.end()
        if job.started:
            self._counters.ended(job.kind, job.state, job.finished - job.started)
        self._newest.renew()


@dataclass(frozen=True, slots=True)
class _Jobs(Collector):
    counts: Callable[[], Mapping[tuple[str, str], int]]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("mbk_jobs", "Jobs by kind and state", labels=["kind", "state"])
        for (kind, state), count in sorted(self.counts().items()):
            family.add_metric([kind, state], count)
        yield family


class Newest(Collector):
    """The newest good backup of each collection. A backup that was committed does not change: each is read once."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._read: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
        self._known: dict[tuple[str, str], tuple[float, int]] = {}
        self._due = 0.0
        self._up = True

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the storage."""
        return ()

    def renew(self) -> None:
        self._due = 0.0

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + FRESH
                self._renew()
            known, up = dict(self._known), self._up
        labels = ["database", "collection"]
        moment = GaugeMetricFamily(
            "mbk_newest_backup_timestamp_seconds", "When the newest good backup began", labels=labels
        )
        age = GaugeMetricFamily("mbk_newest_backup_age_seconds", "How old it is", labels=labels)
        size = GaugeMetricFamily("mbk_newest_backup_size_bytes", "Its size of this collection", labels=labels)
        for key, (began, bytes_) in sorted(known.items()):
            moment.add_metric(key, began)
            age.add_metric(key, max(0.0, time.time() - began))
            size.add_metric(key, bytes_)
        yield from (moment, age, size)
        yield GaugeMetricFamily(
            "mbk_backup_storage_up", "Whether the backups could be listed when last asked", value=float(up)
        )

    def _renew(self) -> None:
        try:
            session = self._sessions.reader
            good = [item for item in session.list() if item.state in ("complete", "partial") and item.created]
            good.sort(key=_created)
            ids = {(item.name, item.id) for item in good}
            self._read = {key: held for key, held in self._read.items() if key in ids}
            unread = [item for item in reversed(good) if (item.name, item.id) not in self._read]
            for item in unread:
                self._read[item.name, item.id] = _held(session.get(item.name))
                if time.monotonic() > self._due - FRESH + BUDGET:
                    self._due = 0.0  # the older ones come with the next answer
                    break
            self._up = True
        except MbkError as error:
            log.warning("no figures of the backups: %s", error.message)
            self._up = False
            return
        self._known = {
            collection: (_created(item), size)
            for item in good
            for collection, size in self._read.get((item.name, item.id), {}).items()
        }


def _created(item: BackupSummary) -> float:
    return item.created.timestamp() if item.created else 0.0


def _held(view: Mapping[str, object]) -> dict[tuple[str, str], int]:
    collections = view.get("collection_backups")
    if not isinstance(collections, list):
        return {}
    return {
        (item.get("db_name") or "default", item.get("collection_name", "")): item.get("size", 0)
        for item in collections
    }
