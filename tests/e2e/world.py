"""What is backed up in these tests: databases, collections of every kind, and a history of writes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pymilvus import DataType

from tests.e2e import data
from tests.e2e.data import Clients, Coll


@dataclass(frozen=True, slots=True)
class World:
    """``rich``: partitions, several segments, deletes before and after a flush, upserts. ``empty`` holds no row."""

    one: str
    two: str
    rich: Coll
    binary: Coll
    auto: Coll
    auto_text: Coll
    keyed: Coll
    empty: Coll

    @property
    def all(self) -> tuple[Coll, ...]:
        return (self.rich, self.binary, self.auto, self.auto_text, self.keyed, self.empty)


def make_world(clients: Clients, tag: str) -> World:
    one, two = clients.database(f"{tag}_one"), clients.database(f"{tag}_two")
    return World(
        one,
        two,
        *at_once(
            lambda: rich_with_history(clients, one),
            lambda: binary_with_history(clients, one),
            lambda: _filled(data.auto_ids(clients, one, "auto")),
            lambda: _filled(data.auto_ids(clients, two, "auto_text", kind=DataType.VARCHAR)),
            lambda: _keyed(clients, two),
            lambda: data.plain(clients, two, "empty", rows=0, loaded=False),
        ),
    )


def at_once(*fillings: Callable[[], Coll]) -> list[Coll]:
    """The collections, in order. Whoever fills one mostly waits for its flushes and its load."""
    with ThreadPoolExecutor(len(fillings)) as pool:
        return [*pool.map(lambda filled: filled(), fillings)]


def rich_with_history(clients: Clients, database: str, name: str = "rich") -> Coll:
    """1,330 rows are left of 1,500 in three partitions; the last deletes and upserts are not flushed."""
    coll = data.rich(clients, database, name)
    coll.load()
    for first in (0, 300, 600):
        coll.insert(data.rich_rows(range(first, first + 300)))
        coll.flush()
    coll.insert(data.rich_rows(range(1000, 1300)), partition="p1")
    coll.delete([*range(10, 60), *range(1000, 1020)])
    coll.flush()
    coll.insert(data.rich_rows(range(2000, 2300)), partition="p2")
    coll.upsert(data.rich_rows(range(100, 130), salt="new "))
    coll.delete([*range(310, 390), *range(2000, 2020)])
    coll.client.create_alias(coll.name, f"{database}_{name}_alias")
    return coll


def binary_with_history(clients: Clients, database: str, name: str = "binary") -> Coll:
    """480 rows are left of 500, in two segments."""
    coll = data.binary(clients, database, name)
    coll.load()
    rows = data.binary_rows(range(500))
    coll.insert(rows[:250])
    coll.flush()
    coll.insert(rows[250:])
    coll.delete([row["pk"] for row in rows[240:260]])
    return coll


def _filled(coll: Coll) -> Coll:
    coll.insert(data.without(data.plain_rows(range(200)), "pk"))
    coll.load()
    return coll


def _keyed(clients: Clients, database: str) -> Coll:
    coll = data.keyed(clients, database, "keyed")
    coll.insert(data.keyed_rows(range(300)))
    coll.load()
    return coll
