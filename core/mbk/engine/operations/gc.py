"""The operation `gc`: removes what belongs to no backup and to no run.

Each kind of leftover is found by one function and removed by one, which looks again under a lease of its own: what was
found may be somebody's by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from mbk.engine.repository.pool import orphans
from mbk.engine.repository.pool.rule import writing
from mbk.engine.repository.remnants import Remnants
from mbk.engine.restore import staged
from mbk.engine.runtime import dead
from mbk.engine.runtime.aging import Age
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted, MbkError, PartialFailure
from mbk.frozen import frozen
from mbk.model.options import GcOptions
from mbk.model.plans import Plan
from mbk.model.reports import GcReport, Leftover
from mbk.ports.storage import Storage


@frozen(kw_only=True)
class GcPlan:
    leftovers: tuple[Leftover, ...]

    @property
    def objects(self) -> int:
        return sum(item.objects for item in self.going)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(item.size for item in self.going)

    @property
    def going(self) -> tuple[Leftover, ...]:
        return tuple(item for item in self.leftovers if item.outcome == "planned")


@frozen(kw_only=True)
class _Scope:
    """``milvus``: the storage in which restores stage, None if it cannot be looked into."""

    context: Context
    options: GcOptions
    milvus: Storage | None

    @property
    def run(self) -> Run:
        return self.context.run

    @property
    def pace(self) -> LeasePace:
        return self.context.pace.lease

    @property
    def backups(self) -> Storage:
        return self.context.backup_storage

    @property
    def with_leases(self) -> Iterator[Storage]:
        """Storages with leases of their own."""
        yield self.backups
        here, there = self.backups.location, self.milvus
        if there is not None and not (here.same_bucket(there.location) and here.root == there.location.root):
            yield there

    @property
    def remnants(self) -> Remnants:
        return Remnants(storage=self.backups, run=self.run, milvus=self.context.milvus_place)


def _scope(context: Context, options: GcOptions) -> _Scope:
    """Backups can be managed where nobody reaches Milvus."""
    context.backup_storage.check()
    milvus = context.storage
    try:
        if milvus is not None:
            milvus.check()
    except Interrupted:
        raise
    except MbkError as error:
        context.run.notice(
            "staged-not-looked-for",
            "what restores left in the storage of Milvus is not looked for: {reason}",
            reason=error.message,
        )
        milvus = None
    return _Scope(context=context, options=options, milvus=milvus)


@frozen
class Kind:
    """``remove`` gets what ``find`` found, and tells what became of each."""

    find: Callable[[_Scope, Age], Iterable[Leftover]]
    remove: Callable[[_Scope, Sequence[Leftover]], Iterable[Leftover]]


def _find_leases(scope: _Scope, _: Age) -> Iterator[Leftover]:
    for storage in scope.with_leases:
        yield from dead.find(storage, scope.run, scope.pace)


def _remove_leases(scope: _Scope, found: Sequence[Leftover]) -> Iterator[Leftover]:
    for storage in scope.with_leases:
        here = [item for item in found if item.location == str(storage.location)]
        yield from dead.remove(storage, scope.run, scope.pace, here)


def _find_staged(scope: _Scope, age: Age) -> Iterable[Leftover]:
    return () if scope.milvus is None else staged.find(scope.milvus, scope.run, scope.context.ask_milvus, age)


def _remove_staged(scope: _Scope, found: Sequence[Leftover]) -> Iterable[Leftover]:
    if scope.milvus is None:
        return ()
    ask, grace = scope.context.ask_milvus, scope.options.grace
    return staged.remove(scope.milvus, scope.run, ask, scope.pace, grace, found)


def _find_remnants(scope: _Scope, age: Age) -> Iterable[Leftover]:
    return scope.remnants.find(age)


def _remove_remnants(scope: _Scope, found: Sequence[Leftover]) -> Iterable[Leftover]:
    return scope.remnants.remove(scope.pace, scope.options.grace, found)


#: In the order in which they are removed; the pool comes after them, as a deletion that is ended frees objects there.
KINDS: Sequence[Kind] = (
    Kind(_find_leases, _remove_leases),
    Kind(_find_staged, _remove_staged),
    Kind(_find_remnants, _remove_remnants),
)


def plan(context: Context, _: str, options: GcOptions) -> GcPlan:
    """What is there now. Raises what the run would raise: `Busy` beside a run that builds on the pool, `Unknowable` if the
    record of a backup is lost or damaged."""
    scope, age = _scope(context, options), Age.guessed(options.grace)
    orphans.refuse_beside(writing(scope.backups, scope.run, scope.pace))
    found = [item for kind in KINDS for item in kind.find(scope, age)]
    return GcPlan(leftovers=(*found, *orphans.find(scope.backups, scope.run, age)))


def preview(context: Context, plan: GcPlan) -> Plan:
    return Plan(
        command="gc",
        name="",
        location=str(context.backup_storage.location),
        objects=plan.objects,
        size=plan.size,
        removes=tuple(item.text for item in plan.going),
        leftovers=plan.leftovers,
        notices=tuple(context.run.notices),
    )


def execute(context: Context, _: str, options: GcOptions) -> GcReport:
    """Removes it. `Busy` while another run builds on the pool; it stops when one begins, and the next run goes on."""
    started = time.monotonic()
    scope, age = _scope(context, options), Age.guessed(options.grace)
    orphans.refuse_beside(writing(scope.backups, scope.run, scope.pace))
    done = [item for kind in KINDS for item in kind.remove(scope, [*kind.find(scope, age)])]
    pool = orphans.remove(scope.backups, scope.run, scope.pace, options.grace)
    leftovers = (*done, *pool.leftovers)
    report = GcReport(
        location=str(scope.backups.location),
        deleted_objects=sum(item.objects for item in leftovers if item.outcome == "removed"),
        freed=sum(item.size for item in leftovers if item.outcome == "removed"),
        left=pool.freed.left,
        leftovers=leftovers,
        seconds=time.monotonic() - started,
        notices=tuple(scope.run.notices),
    )
    _require_done(report)
    return report


def _require_done(report: GcReport) -> None:
    failed = [item for item in report.leftovers if item.outcome == "failed"]
    if failed:
        raise PartialFailure(
            "{count} leftovers that should go are still there: {leftovers}",
            code="gc-partial",
            report=report,
            count=len(failed),
            leftovers="; ".join(f"{item.name}: {item.reason}" for item in failed),
            hint="run it again",
        )
