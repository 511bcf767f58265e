"""``--dry-run``: what an operation would do, as a table or as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mbk.cli.render import (
    as_of,
    count,
    counted,
    emit,
    emit_data,
    emit_leftovers,
    freed,
    plain,
    pruned,
    size,
    table,
)
from mbk.model.flows import Side
from mbk.model.plans import Plan
from mbk.model.reports import CollectionOutcome
from mbk.model.states import CollectionState

#: What people call the sides of a plan.
SIDES: Mapping[Side, str] = {
    "storage": "the storage of Milvus",
    "backups": "the backup storage",
    "target": "the target",
}


def show(plan: Plan, output: str | None) -> None:
    """Prints a plan: its collections, what it removes, and its totals."""
    if output in ("json", "yaml"):
        emit_data({**plain(plan), "dry_run": True}, output)
        return
    if plan.collections:
        emit(_table(plan.collections))
    if plan.backups:
        emit(pruned(plan.backups))
        emit(f"prune (dry run, nothing was changed): {freed(plan.backups, 'planned')}; in {plan.location}")
        return
    for item in plan.collections:
        for text in (*((item.error,) if item.error else ()), *item.notes):
            emit(f"  {item.source}: {text}")
    for line in (*as_of(plan.collections), *requests(plan)):
        emit(f"  {line}")
    emit_leftovers(plan.leftovers)
    for removed in plan.removes if not plan.leftovers else ():
        emit(f"  removes {removed}")
    what = " ".join(filter(None, (plan.command, plan.name)))
    emit(f"{what} (dry run, nothing was changed): {'; '.join(_summary(plan))}")


def requests(plan: Plan) -> Iterator[str]:
    """A line for each storage: ``backups: 4,136 copy, 14 list``."""
    for side in plan.requests:
        kinds = ", ".join(f"{kind} {number}" for kind, number in side.counts.items())
        yield f"requests to {SIDES[side.side]}: {kinds}"


def _table(collections: Sequence[CollectionOutcome]) -> str:
    renamed = any(item.source != item.target for item in collections)
    undecided = any(item.outcome != CollectionState.PLANNED for item in collections)
    header = ["COLLECTION", *(["TARGET"] if renamed else []), *(["OUTCOME"] if undecided else [])]
    rows = [
        [
            item.source,
            *([item.target] if renamed else []),
            *([item.outcome] if undecided else []),
            count(item.rows_expected),
            count(item.objects),
            size(item.size),
        ]
        for item in collections
    ]
    return table([*header, "ROWS", "OBJECTS", "SIZE"], rows)


def _summary(plan: Plan) -> Iterator[str]:
    collections = [item for item in plan.collections if item.outcome == CollectionState.PLANNED]
    totals = [counted(len(collections), "collection")] if plan.collections else []
    totals += [counted(plan.objects, "object")] if plan.objects is not None else []
    totals += [size(plan.size)] if plan.size is not None else []
    totals += [counted(plan.rows, "row")] if plan.rows is not None else []
    if totals:
        yield ", ".join(totals)
    if plan.present:
        yield f"{counted(plan.present, 'object')} ({size(plan.present_size)}) already there"
    if plan.format:
        yield f"format {plan.format}"
    if plan.resumes:
        yield "resumes an interrupted run"
    yield f"from {plan.location} to {plan.target}" if plan.target else f"at {plan.location}"
