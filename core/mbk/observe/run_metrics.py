"""The metrics of one run without a server: for the textfile collector or a push gateway."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest, push_to_gateway, write_to_textfile

from mbk.errors import Interrupted, PartialFailure
from mbk.model.events import Event
from mbk.model.reports import RunReport, VerifyReport
from mbk.model.states import CollectionState, JobState
from mbk.observe.counters import Counters, Phases

#: Seconds that a push may take.
PATIENCE = 10


class RunMetrics:
    """Listens to the events of one run; `end` adds its outcome."""

    def __init__(self, kind: str) -> None:
        self.registry = CollectorRegistry()
        self._kind = kind
        self._began, self._clock = time.time(), time.monotonic()
        self._counters = Counters(self.registry)
        self._phases = Phases(lambda phase, seconds: self._counters.phase(kind, phase, seconds))

    def __call__(self, event: Event) -> None:
        self._counters.event(self._kind, event)
        self._phases.event(event)

    def end(self, outcome: RunReport | BaseException) -> None:
        """``outcome``: the run's report, or the exception that ended it."""
        self._phases.end()
        report = outcome if isinstance(outcome, RunReport) else getattr(outcome, "report", None)
        self._counters.ended(self._kind, _state(outcome), time.monotonic() - self._clock)
        self._gauge("mbk_last_run_timestamp_seconds", "When the run ended", time.time())
        self._gauge(
            "mbk_last_run_success", "Whether it was good", float(_state(outcome) is JobState.SUCCEEDED)
        )
        if isinstance(report, RunReport):
            self._gauge("mbk_last_run_size_bytes", "Bytes of its collections", report.size)
            if self._kind == "backup":
                added = report.transfer.added
                self._gauge("mbk_last_run_added_bytes", "Bytes of it that no earlier backup has", added)
                self._newest(report)

    def verified(self, reports: Sequence[VerifyReport]) -> None:
        """The end of a run that verified backups."""
        self._phases.end()
        state = JobState.SUCCEEDED if all(report.is_whole for report in reports) else JobState.FAILED
        self._counters.ended(self._kind, state, time.monotonic() - self._clock)
        self._gauge("mbk_last_run_timestamp_seconds", "When the run ended", time.time())
        self._gauge("mbk_last_run_success", "Whether it was good", float(state is JobState.SUCCEEDED))
        labels, registry = ["backup", "depth"], self.registry
        found = Gauge("mbk_backup_findings", "What a verification found", labels, registry=registry)
        at = Gauge("mbk_backup_verified_timestamp_seconds", "When it was", labels, registry=registry)
        for report in reports:
            found.labels(report.name, report.depth).set(report.found)
            at.labels(report.name, report.depth).set(report.at.timestamp())

    def text(self) -> str:
        return generate_latest(self.registry).decode()

    def save(self, path: str) -> None:
        """Writes the file whole or not at all; raises `OSError`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(path, self.registry)

    def push(self, url: str) -> None:
        """Raises `OSError`."""
        push_to_gateway(url, job=f"mbk_{self._kind}", registry=self.registry, timeout=PATIENCE)

    def _gauge(self, name: str, text: str, value: float) -> None:
        Gauge(name, text, ["kind"], registry=self.registry).labels(self._kind).set(value)

    def _newest(self, report: RunReport) -> None:
        labels = ["database", "collection"]
        moment = Gauge(
            "mbk_newest_backup_timestamp_seconds",
            "When the newest good backup began",
            labels,
            registry=self.registry,
        )
        size = Gauge(
            "mbk_newest_backup_size_bytes", "Its size of this collection", labels, registry=self.registry
        )
        for item in report.collections:
            if item.outcome == CollectionState.DONE:
                database, _, name = item.source.partition(".")
                moment.labels(database, name).set(self._began)
                size.labels(database, name).set(item.size or 0)


def _state(outcome: RunReport | BaseException) -> JobState:
    match outcome:
        case RunReport():
            return JobState.SUCCEEDED
        case PartialFailure():
            return JobState.PARTIAL
        case Interrupted() | KeyboardInterrupt():
            return JobState.INTERRUPTED
    return JobState.FAILED
