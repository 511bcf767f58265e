"""What is to be copied or read, summed up before the first byte: the numbers that requests and time depend on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice, zip_longest

from mbk.engine.runtime.steered import PART, SINGLE_WRITE
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.ways.cutting import cut, in_parts
from mbk.model.flows import Flow, Side, Way

#: Objects of a sample: enough to have a hundred requests in flight for a moment, few enough to carry along.
SAMPLE = 64


def reading(objects: Iterable[tuple[str, int]], side: Side) -> Flow:
    """Objects, by key and size, that are read and not copied."""
    return _flow(objects, Flow(source=side, to=side, way="read"), None)


def copying(objects: Iterable[tuple[str, int]], pair: Pair, source: Side, to: Side) -> Flow:
    """Objects, by key and size, that are copied.

    Whether the service really copies them is found out by the first copy.
    """
    mode = pair.limits.mode
    streams = mode == "streaming" or (mode != "direct" and not pair.destination.can_copy_from(pair.source))
    way: Way = "stream" if streams else "server"
    return _flow(objects, Flow(source=source, to=to, way=way), pair)


def together(flows: Iterable[Flow | None]) -> tuple[Flow, ...]:
    """The flows of collections as one for each pair of sides and way; what is None is left out."""
    groups: dict[tuple[Side, Side, Way], list[Flow]] = {}
    for flow in flows:
        if flow is not None and flow.objects:
            groups.setdefault((flow.source, flow.to, flow.way), []).append(flow)
    return tuple(_sum(group) for group in groups.values())


def _sum(flows: list[Flow]) -> Flow:
    """Of the samples some of each."""
    in_turn = chain.from_iterable(zip_longest(*(flow.sample for flow in flows)))
    return Flow(
        source=flows[0].source,
        to=flows[0].to,
        way=flows[0].way,
        objects=sum(flow.objects for flow in flows),
        size=sum(flow.size for flow in flows),
        large=sum(flow.large for flow in flows),
        parts=sum(flow.parts for flow in flows),
        sample=tuple(islice((item for item in in_turn if item is not None), SAMPLE)),
    )


def _flow(objects: Iterable[tuple[str, int]], kind: Flow, pair: Pair | None) -> Flow:
    """The sample is of every n-th object, n doubling as they become more."""
    count = size = large = parts = 0
    sample, step = list[tuple[str, int]](), 1
    for key, length in objects:
        if count % step == 0:
            sample.append((key, length))
            if len(sample) > SAMPLE:
                sample, step = sample[::2], 2 * step
        count, size = count + 1, size + length
        if pair is not None and (cuts := _parts(length, pair, kind.way)):
            large, parts = large + 1, parts + cuts
    return Flow(
        source=kind.source,
        to=kind.to,
        way=kind.way,
        objects=count,
        size=size,
        large=large,
        parts=parts,
        sample=tuple(sample),
    )


def _parts(size: int, pair: Pair, way: Way) -> int:
    """In how many parts an object goes, 0 if it goes whole."""
    can = pair.destination.capabilities
    if way == "stream":
        return -(-size // PART) if can.multipart and size > SINGLE_WRITE else 0
    if not in_parts(size, can, pair.limits.part_threshold):
        return 0
    return sum(1 for _ in cut(size, can, preferred=pair.run.budget.part_size))
