"""The one way to list a prefix: an interrupted listing is started over.

Several threads may call these functions. They raise what the storage raises once the run's retries are used up, and
`Interrupted` if the run is cancelled meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar

from mbk.engine.runtime.run import Run
from mbk.ports.storage import Level, Lister, ObjectInfo

T = TypeVar("T")


def consume(storage: Lister, run: Run, read: Callable[[Iterator[ObjectInfo]], T], *prefixes: str) -> T:
    """The result of ``read``, which gets all objects below the prefixes one by one: no listing is kept in memory.

    If a listing fails, ``read`` is called again with fresh ones; it must not keep state between calls.
    """

    def once() -> T:
        return read(entry for prefix in prefixes for entry in storage.list(prefix))

    return run.retry.call(f"list {prefixes[0]}", once) if prefixes else once()


def objects(storage: Lister, run: Run, *prefixes: str) -> list[ObjectInfo]:
    """All objects below the prefixes, in no particular order."""
    return consume(storage, run, list, *prefixes)


def by_key(storage: Lister, run: Run, *prefixes: str) -> dict[str, ObjectInfo]:
    """All objects below the prefixes, by key."""
    return consume(storage, run, lambda entries: {entry.key: entry for entry in entries}, *prefixes)


def level(storage: Lister, run: Run, prefix: str) -> Level:
    """What lies directly below the prefix; nothing of what lies deeper is read."""

    return run.retry.call(f"list {prefix}", storage.list_level, prefix)


def first(storage: Lister, prefix: str) -> str:
    """A key, or a prefix of keys, directly below the prefix; empty if there is none. One attempt; lists one level."""
    below = storage.list_level(prefix)
    return next(chain((entry.key for entry in below.objects), below.prefixes), "")


def any_below(storage: Lister, run: Run, prefix: str) -> bool:
    """Whether any object lies below the prefix, however deep."""
    return consume(storage, run, lambda entries: next(entries, None), prefix) is not None


def holds_any(storage: Lister, run: Run, prefix: str) -> bool:
    """Whether any object lies below the prefix; lists the level directly below it."""
    return bool(run.retry.call(f"list {prefix}", first, storage, prefix))
