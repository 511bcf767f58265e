"""A server's Prometheus metrics: its jobs, what they copied, the newest good backup of each collection, and what each backup takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mbk.errors import MbkError
from mbk.frozen import frozen
from mbk.model.contents import BackupInfo
from mbk.model.events import Event
from mbk.model.jobs import Job, Standing
from mbk.model.reports import BackupSummary
from mbk.model.states import BackupState
from mbk.observe.counters import Counters, Phases

log = logging.getLogger(__name__)
#: Seconds for which a listing of the backups is reused, and for which one scrape may read backups not read before.
FRESH, BUDGET = 60.0, 3.0


class Backups(Protocol):
    """The part of a session that the backup metrics need."""

    def list(self) -> Iterable[BackupSummary]: ...

    def get(self, name: str) -> BackupInfo: ...


class ServerMetrics:
    """Watches a server's jobs. ``backups`` opens the backup storage, and is called at the first scrape."""

    def __init__(self, backups: Callable[[], Backups]) -> None:
        self.registry = CollectorRegistry()
        self._counters = Counters(self.registry)
        self._phases: dict[str, Phases] = {}
        self._newest = Newest(backups)
        self.registry.register(self._newest)

    def count_jobs(self, counts: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self.registry.register(_Jobs(counts))

    def tell_schedules(self, schedules: Callable[[], Iterable[tuple[str, Standing, float]]]) -> None:
        """``schedules``: the name of each, what is known of it, and its next occurrence, 0 while it is paused."""
        self.registry.register(_Schedules(schedules))

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


@frozen
class _Schedules(Collector):
    schedules: Callable[[], Iterable[tuple[str, Standing, float]]]

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the jobs file."""
        return ()

    def collect(self) -> Iterable[Metric]:
        def family(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"mbk_schedule_{name}", text, labels=["schedule"])

        running = family("running", "Whether a run of the schedule is under way")
        following = family("next_timestamp_seconds", "When it is due next; 0 while it is paused")
        began = family("last_timestamp_seconds", "When its last run began")
        succeeded = family("last_success_timestamp_seconds", "When a run last ended well")
        seconds = family("last_duration_seconds", "How long its last run took")
        skipped = family("skipped", "Runs that were skipped, because the one before was not over")
        good = family("last_good", "Whether its last run ended well")
        for schedule, standing, due in self.schedules():
            name = [schedule]
            running.add_metric(name, float(standing.is_running))
            following.add_metric(name, due)
            skipped.add_metric(name, standing.skipped)
            if standing.began:
                began.add_metric(name, standing.began)
            if standing.succeeded:
                succeeded.add_metric(name, standing.succeeded)
            if standing.ended:
                seconds.add_metric(name, standing.ended - standing.began)
                good.add_metric(name, float(standing.succeeded == standing.ended))
        yield from (running, following, began, succeeded, seconds, skipped, good)


@frozen
class _Jobs(Collector):
    counts: Callable[[], Mapping[tuple[str, str], int]]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("mbk_jobs", "Jobs by kind and state", labels=["kind", "state"])
        for (kind, state), count in sorted(self.counts().items()):
            family.add_metric([kind, state], count)
        yield family


class Newest(Collector):
    """The newest good backup of each collection, and the backups themselves. A committed backup does not change, so each is read once."""

    def __init__(self, backups: Callable[[], Backups]) -> None:
        self._backups = backups
        self._lock = threading.Lock()
        self._read: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
        self._collections: dict[tuple[str, str], tuple[float, int]] = {}
        self._listed: tuple[BackupSummary, ...] = ()
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
            collections, up = dict(self._collections), self._up
            listed = self._listed
        labels = ["database", "collection"]
        moment = GaugeMetricFamily(
            "mbk_newest_backup_timestamp_seconds", "When the newest good backup began", labels=labels
        )
        age = GaugeMetricFamily("mbk_newest_backup_age_seconds", "How old it is", labels=labels)
        size = GaugeMetricFamily("mbk_newest_backup_size_bytes", "Its size of this collection", labels=labels)
        for key, (began, bytes_) in sorted(collections.items()):
            moment.add_metric(key, began)
            age.add_metric(key, max(0.0, time.time() - began))
            size.add_metric(key, bytes_)
        yield from (moment, age, size, *_of_sizes(listed), *_of_verifications(listed))
        yield GaugeMetricFamily(
            "mbk_damaged_backups",
            "Backups that cannot be read, or in which the last verification found something",
            value=sum(map(_is_damaged, listed)),
        )
        yield GaugeMetricFamily(
            "mbk_backup_storage_up", "Whether the backups could be listed when last asked", value=float(up)
        )

    def _renew(self) -> None:
        try:
            backups = self._backups()
            self._listed = tuple(backups.list())
            good = [item for item in self._listed if item.state.is_restorable and item.created]
            good.sort(key=_created)
            ids = {(item.name, item.id) for item in good}
            self._read = {key: sizes for key, sizes in self._read.items() if key in ids}
            unread = [item for item in reversed(good) if (item.name, item.id) not in self._read]
            for item in unread:
                self._read[item.name, item.id] = _sizes(backups.get(item.name))
                if time.monotonic() > self._due - FRESH + BUDGET:
                    self._due = 0.0  # the older ones follow in the next scrape
                    break
            self._up = True
        except MbkError as error:
            log.warning("cannot update the backup metrics: %s", error.message)
            self._up = False
            return
        self._collections = {
            collection: (_created(item), size)
            for item in good
            for collection, size in self._read.get((item.name, item.id), {}).items()
        }


def _is_damaged(item: BackupSummary) -> bool:
    return item.state is BackupState.UNREADABLE or bool(item.verified and item.verified.findings)


def _of_sizes(listed: Iterable[BackupSummary]) -> Iterator[Metric]:
    """``added`` and ``frees`` are of shared backups only."""
    labels = ["backup"]
    size = GaugeMetricFamily("mbk_backup_size_bytes", "What the backup holds", labels=labels)
    added = GaugeMetricFamily("mbk_backup_added_bytes", "What it put into the pool", labels=labels)
    frees = GaugeMetricFamily("mbk_backup_frees_bytes", "What deleting it would free", labels=labels)
    for item in listed:
        for family, value in ((size, item.size), (added, item.added), (frees, item.frees)):
            if value is not None:
                family.add_metric([item.name], value)
    yield from (size, added, frees)


def _of_verifications(listed: Iterable[BackupSummary]) -> Iterator[Metric]:
    labels = ["backup", "depth"]
    at = GaugeMetricFamily(
        "mbk_backup_verified_timestamp_seconds", "When the backup was last verified", labels=labels
    )
    found = GaugeMetricFamily("mbk_backup_findings", "What was found then", labels=labels)
    for item in listed:
        if (last := item.verified) is not None:
            at.add_metric([item.name, last.depth], last.at.timestamp())
            found.add_metric([item.name, last.depth], last.findings)
    yield from (at, found)


def _created(item: BackupSummary) -> float:
    return item.created.timestamp() if item.created else 0.0


def _sizes(info: BackupInfo) -> dict[tuple[str, str], int]:
    return {(item.database, item.name): item.size for item in info.collections}
