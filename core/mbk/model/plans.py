"""What an operation will do, as a value: made without changing anything, and printed by a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mbk.frozen import frozen
from mbk.model.flows import Flow, Requests
from mbk.model.reports import CollectionOutcome, Leftover, PrunedBackup, RunReport


@frozen(kw_only=True)
class Plan:
    """``location``: the backup that is made, read or deleted, without credentials. ``target``: where its rows or objects
    go, if elsewhere.

    ``collections`` have the outcome ``planned``, or ``failed`` and ``skipped`` with the reason if it is already known.
    ``objects``, ``size`` (bytes) and ``rows`` are totals; None if only the run can tell. ``present`` objects of
    ``present_size`` bytes are there already, and not among these. ``removes``: what is deleted or replaced. ``backups``: which
    stay and which go, and why, of a prune. ``leftovers``: what a gc removes, and what it leaves and why. ``resumes``: it
    continues an earlier run. ``flows``: what goes from one storage to another, and ``requests`` what that takes; empty where
    nobody knows. ``asked``: the moment that a restore is asked for, if any.
    """

    command: str
    name: str
    location: str
    target: str = ""
    format: str = ""
    milvus_version: str = ""
    id: str = ""
    resumes: bool = False
    collections: tuple[CollectionOutcome, ...] = ()
    objects: int | None = None
    size: int | None = None
    rows: int | None = None
    present: int = 0
    present_size: int = 0
    removes: tuple[str, ...] = ()
    backups: tuple[PrunedBackup, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    flows: tuple[Flow, ...] = ()
    requests: tuple[Requests, ...] = ()
    notices: tuple[str, ...] = ()
    asked: datetime | None = None

    def report(self, *, seconds: float = 0.0) -> RunReport:
        """The plan in the form of a run's report."""
        return RunReport(
            command=self.command,
            name=self.name,
            id=self.id,
            location=self.location,
            milvus_version=self.milvus_version,
            seconds=seconds,
            collections=self.collections,
            notices=self.notices,
            asked=self.asked,
        )


def total(counts: Sequence[int | None]) -> int | None:
    """The sum, or None if one of them is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
