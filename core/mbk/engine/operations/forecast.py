"""How long an operation will take, from a short probe with some of the objects that its plan moves."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mbk.engine.repository.catalog import clean, delete_below
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import STREAM, CopyItem
from mbk.engine.transfer.reading import chunks_of
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import Interrupted, MbkError
from mbk.model.flows import Flow, Requests, Side, requests_of
from mbk.model.forecast import Forecast, Speed
from mbk.model.plans import Plan
from mbk.ports.storage import MIB, Storage

#: Objects of one round: the first opens connections, the last one has as many in flight as a run would have.
ROUNDS = (4, 16, 44)
#: No further round after so many seconds.
ENOUGH = 2.0
#: A larger object is only taken where there is no smaller one: a probe is short.
LARGE = 64 * MIB


def forecast(context: Context, plan: Plan) -> Forecast:
    """The plan with measured speeds. Copies some of its objects below a prefix of its own, which is removed again.

    What fails is a note: a plan is worth having without a time.
    """
    speeds, notes = list[Speed](), list[str]()
    for flow in plan.flows:
        try:
            speeds += _measured(context, flow)
        except Interrupted:
            raise
        except MbkError as error:
            notes.append(f"the speed was not measured: {error.message}")
    plan = _as_found(plan, speeds)
    complete = bool(plan.flows) and len(speeds) == len(plan.flows)
    seconds = (
        sum(speed.takes(flow) for speed, flow in zip(speeds, plan.flows, strict=True)) if complete else None
    )
    return Forecast(plan=plan, seconds=seconds, speeds=tuple(speeds), notes=tuple(notes))


def storage_of(context: Context, side: Side) -> Storage:
    name = {"backups": "backup_storage"}.get(side, side)
    found: Storage = getattr(context, name)
    return found


def _as_found(plan: Plan, speeds: Sequence[Speed]) -> Plan:
    """With the ways that the objects really went: a service may refuse to copy what looked as if it would."""
    for speed in speeds:
        for flow in plan.flows:
            if (flow.source, flow.to) == (speed.source, speed.to) and flow.way != speed.way:
                other = replace(flow, way=speed.way, large=0, parts=0)
                flows = tuple(other if each is flow else each for each in plan.flows)
                plan = replace(plan, flows=flows, requests=_rerouted(plan.requests, flow, other))
    return plan


def _rerouted(requests: tuple[Requests, ...], before: Flow, after: Flow) -> tuple[Requests, ...]:
    counts = {side.side: dict(side.counts) for side in requests}
    for sign, flow in ((-1, before), (1, after)):
        for side in requests_of([flow]):
            for kind, number in side.counts.items():
                of_side = counts.setdefault(side.side, {})
                of_side[kind] = of_side.get(kind, 0) + sign * number
    return tuple(
        Requests(side=side, counts={kind: number for kind, number in found.items() if number})
        for side, found in counts.items()
    )


# -- measuring ---------------------------------------------------------------------------------------------------------


def _measured(context: Context, flow: Flow) -> Iterator[Speed]:
    rounds = [*_rounds(flow)]
    if not rounds:
        return
    # Its copies are none of the operation's: nobody hears of them.
    told = context.run
    run = Run(cancelled=told.cancelled, budget=told.budget, steering=told.steering)
    source = storage_of(context, flow.source)
    if flow.way == "read":
        yield _of_reads(flow, rounds, source, run)
    else:
        yield _of_copies(context, flow, rounds, source, run)


def _rounds(flow: Flow) -> Iterator[Sequence[tuple[str, int]]]:
    some = [item for item in flow.sample if item[1] <= LARGE] or [*flow.sample[:1]]
    for number in ROUNDS:
        if not some:
            return
        yield some[:number]
        some = some[number:]


def _of_reads(flow: Flow, rounds: Sequence[Sequence[tuple[str, int]]], source: Storage, run: Run) -> Speed:
    def read(item: tuple[str, int]) -> None:
        for _ in chunks_of(source, item[0], run):
            pass

    with Pool(run.budget.copies, run.cancelled, name="mbk-probe") as pool:
        done, seconds = _timed(rounds, lambda items: pool.run(read, items))
    return _speed(flow, done, seconds)


def _of_copies(
    context: Context, flow: Flow, rounds: Sequence[Sequence[tuple[str, int]]], source: Storage, run: Run
) -> Speed:
    target = storage_of(context, flow.to)
    with (
        _removed(target, context.run) as prefix,
        Transfer(source=source, destination=target, run=run, limits=context.limits.transfer) as transfer,
    ):

        def copy(items: Sequence[tuple[str, int]]) -> None:
            copies = [
                CopyItem(source_key=key, key=f"{prefix}{uuid.uuid4().hex}", size=size) for key, size in items
            ]
            transfer.copy(copies, collection="", present={})

        done, seconds = _timed(rounds, copy)
        way = "stream" if STREAM in transfer.stats.objects else flow.way
    return replace(_speed(flow, done, seconds), way=way)


def _timed(
    rounds: Sequence[Sequence[tuple[str, int]]], do: Callable[[Sequence[tuple[str, int]]], None]
) -> tuple[Sequence[tuple[str, int]], float]:
    """The last round and the seconds that it took."""
    begun, seconds, last = time.monotonic(), 0.0, rounds[0]
    for last in rounds:
        started = time.monotonic()
        do(last)
        seconds = time.monotonic() - started
        if time.monotonic() - begun > ENOUGH:
            break
    return last, seconds


def _speed(flow: Flow, done: Sequence[tuple[str, int]], seconds: float) -> Speed:
    return Speed(
        source=flow.source,
        to=flow.to,
        way=flow.way,
        objects=len(done),
        size=sum(size for _, size in done),
        seconds=seconds,
    )


@contextmanager
def _removed(storage: Storage, run: Run) -> Iterator[str]:
    """A prefix for objects of the probe, which are gone afterwards."""
    prefix = f"{storage.location.root}mbk_check_{uuid.uuid4().hex}/"
    try:
        yield prefix
    finally:
        after = run.afterwards()
        delete_below(storage, prefix, after)
        clean(storage, after, prefix)
