"""What an operation moves between storages, and the requests that this takes, as values.

A plan knows them before the first byte: they come from the listings that a plan reads anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Literal

from mbk.frozen import frozen

#: The storages of a plan, by their part in it: Milvus' own, the backups', and where a backup is copied to.
Side = Literal["storage", "backups", "target"]
#: How objects go: copied by the service, through this process, or only read by it.
Way = Literal["server", "stream", "read"]
#: As vendors bill them.
RequestKind = Literal["list", "stat", "get", "put", "copy"]
KINDS: tuple[RequestKind, ...] = ("list", "stat", "get", "put", "copy")

#: Objects on one page of a listing: S3's and OSS's own limit, and what the others are asked for.
PAGE = 1000
#: Small files that a `create` writes beside the objects: its lease, which a minute renews a few times, the manifest twice,
#: the record, and five of metadata.
METADATA = 10
#: A large object takes a request more to begin it and one to complete it.
AROUND_PARTS = 2


@frozen(kw_only=True)
class Flow:
    """Objects that go from one side to another; with the way ``read`` they go to this process only.

    ``size`` in bytes. ``large`` of the ``objects`` go in parts, ``parts`` in all. ``sample``: keys and sizes of some of
    the objects, spread over all of them, with which speed can be measured.
    """

    source: Side
    to: Side
    way: Way
    objects: int = 0
    size: int = 0
    large: int = 0
    parts: int = 0
    sample: tuple[tuple[str, int], ...] = field(default=(), repr=False)

    @property
    def passing(self) -> int:
        """Bytes that pass through this process."""
        return 0 if self.way == "server" else self.size


@frozen(kw_only=True)
class Requests:
    """How many requests of each kind one side gets."""

    side: Side
    counts: Mapping[RequestKind, int]


def requests_of(
    flows: Iterable[Flow],
    *,
    listed: Iterable[tuple[Side, int]] = (),
    asked: Iterable[tuple[Side, int]] = (),
    written: Iterable[tuple[Side, int]] = (),
) -> tuple[Requests, ...]:
    """The requests that all this takes, side by side.

    ``listed``: sides and the number of objects in one listing of them. ``asked``: sides and objects that are asked about one
    by one. ``written``: sides and small files that are written beside the objects.
    """
    counts: dict[Side, Counter[RequestKind]] = {}

    def add(side: Side, kind: RequestKind, count: int) -> None:
        if count:
            counts.setdefault(side, Counter())[kind] += count

    for flow in flows:
        whole = flow.objects - flow.large
        if flow.way == "server":
            add(flow.to, "copy", whole + flow.parts)
            add(flow.to, "put", AROUND_PARTS * flow.large)
            continue
        # A large object is read in ranges of the length of its parts.
        add(flow.source, "get", whole + flow.parts)
        if flow.way == "stream":
            add(flow.to, "put", whole + flow.parts + AROUND_PARTS * flow.large)
    for side, objects in listed:
        add(side, "list", -(-objects // PAGE) or 1)
    for side, objects in asked:
        add(side, "stat", objects)
    for side, files in written:
        add(side, "put", files)
    return tuple(
        Requests(side=side, counts={kind: found[kind] for kind in KINDS if found[kind]})
        for side, found in counts.items()
    )
