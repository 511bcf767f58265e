"""What an operation will take and cost, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mbk.frozen import frozen
from mbk.model.flows import Flow, RequestKind, Requests, Side, Way
from mbk.model.plans import Plan

GIB = 1024**3
#: Where an operation leaves objects for good.
KEPT: Mapping[str, Side] = {"create": "backups", "copy": "target"}


@frozen(kw_only=True)
class Speed:
    """What was measured with some objects of a flow: ``objects`` and ``size`` (bytes) in ``seconds``, the ``way`` they went."""

    source: Side
    to: Side
    way: Way
    objects: int
    size: int
    seconds: float

    def takes(self, flow: Flow) -> float:
        """Seconds for all of the flow: whichever of its objects and its bytes takes longer."""
        by_objects = flow.objects / self.objects
        by_size = flow.size / self.size if self.size else 0.0
        return self.seconds * max(by_objects, by_size)


@frozen(kw_only=True)
class Prices:
    """List prices of one service, in ``currency``, as they were ``as_of`` (year and month).

    ``backends``: the storage types that it applies to, ``endpoints``: patterns of their endpoints, any if there are none.
    ``per_thousand``: requests by kind. ``gib_month``: keeping a GiB for a month. ``gib_out``: a GiB that leaves the region.
    """

    name: str
    as_of: str
    currency: str
    backends: tuple[str, ...]
    endpoints: tuple[str, ...] = ()
    per_thousand: Mapping[RequestKind, float] = field(default_factory=dict)
    gib_month: float = 0.0
    gib_out: float = 0.0

    def of(self, side: Requests) -> float:
        """What these requests cost."""
        return sum(number * self.per_thousand.get(kind, 0.0) / 1000 for kind, number in side.counts.items())


@frozen(kw_only=True)
class Cost:
    """What one side charges: ``run`` for its requests, ``month`` for keeping what the run leaves, and ``outside`` for what
    is read from it, if this process runs outside of the service's region."""

    side: Side
    prices: str
    as_of: str
    currency: str
    run: float = 0.0
    month: float = 0.0
    outside: float = 0.0


@frozen(kw_only=True)
class Forecast:
    """``seconds`` for moving objects, None if that was not measured; not what Milvus takes to flush, import and index.

    ``costs`` of the sides whose prices are known.
    """

    plan: Plan
    seconds: float | None = None
    speeds: tuple[Speed, ...] = ()
    costs: tuple[Cost, ...] = ()
    notes: tuple[str, ...] = ()


def costs_of(plan: Plan, prices: Mapping[Side, Prices]) -> tuple[Cost, ...]:
    """What the plan costs on the sides whose prices are given."""
    requests = {side.side: side for side in plan.requests}
    kept = KEPT.get(plan.command)
    leaving = {side: sum(flow.passing for flow in plan.flows if flow.source == side) for side in prices}
    return tuple(
        Cost(
            side=side,
            prices=price.name,
            as_of=price.as_of,
            currency=price.currency,
            run=price.of(requests[side]) if side in requests else 0.0,
            month=(plan.size or 0) / GIB * price.gib_month if side == kept else 0.0,
            outside=leaving[side] / GIB * price.gib_out,
        )
        for side, price in prices.items()
    )
