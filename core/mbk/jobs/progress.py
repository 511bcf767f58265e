"""The collections of a job that has ended, as its report tells them."""

from __future__ import annotations

from mbk.model.jobs import CollectionProgress
from mbk.model.reports import RunReport


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
            moment=item.moment.timestamp() if item.moment else 0.0,
            behind=item.behind,
            started=times[item.target].started if item.target in times else 0.0,
            finished=times[item.target].finished if item.target in times else 0.0,
        )
        for item in report.collections
    )
