"""Collections whose rows were deleted in every order, as both a double and a real 2.3 can hold them."""

from __future__ import annotations

from tests.e2e import data
from tests.e2e.data import Clients, Coll


def rich(clients: Clients, database: str) -> Coll:
    """Every scalar type that 2.3 has, dynamic keys, segments in two partitions, deletes by several flushes."""
    coll = data.rich(clients, database, "rich")
    rows = data.rich_rows(range(120))
    coll.insert(rows[:50], partition="p1")
    # Within one segment: the old row goes, the new one stays.
    coll.delete([10, 11])
    coll.insert(data.rich_rows([10], salt="new "), partition="p1")
    coll.flush()
    coll.delete([0, 1, 2])
    coll.flush()
    coll.insert(rows[50:80], partition="p1")
    coll.insert(rows[80:], partition="p2")
    coll.flush()
    coll.delete([1, 3, 60, 100, 119, 5000])
    coll.flush()
    # Inserted again after it was deleted: the older delete must not take it.
    coll.insert(data.rich_rows([3, 100], salt="again "), partition="p2")
    coll.flush()
    coll.delete([4, 81])
    coll.flush()
    coll.load()
    return coll


def texts(clients: Clients, database: str) -> Coll:
    coll = data.binary(clients, database, "texts")
    rows = data.binary_rows(range(60))
    coll.insert(rows[:40])
    coll.flush()
    coll.insert(rows[40:])
    coll.flush()
    coll.delete([rows[7]["pk"], rows[45]["pk"], "no such key"])
    coll.flush()
    coll.load()
    return coll


def plain(clients: Clients, database: str) -> Coll:
    """What also a 2.2 has."""
    coll = data.plain(clients, database, "plain", rows=0, loaded=False)
    coll.insert(data.plain_rows(range(100)))
    coll.delete([50, 51])
    coll.insert(data.plain_rows([50], salt="new "))
    coll.flush()
    coll.delete([1, 2, 99])
    coll.flush()
    coll.insert(data.plain_rows(range(100, 150)))
    coll.insert(data.plain_rows([2], salt="again "))
    coll.flush()
    coll.delete([101])
    coll.flush()
    coll.load()
    return coll
