"""Deletes as a set that is asked for the keys of a segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mbk.binlog.arrow import pa, pc
from mbk.binlog.deltas import PK, TS

#: Bytes of deletes held at once: about 16 million keys of type Int64 with their times.
HELD = 256 << 20


class Deletes:
    """Deleted keys and their times, as they were read.

    ``source`` gives the tables of :func:`mbk.binlog.deltas.read` anew at each call. What fits into ``held`` bytes is
    read once and kept; more than that is read again, piece by piece, for every segment: slow, and never too large.
    Looked up are the deletes among the keys of a segment, not the other way: a segment is small.
    """

    def __init__(self, source: Callable[[], Iterator[Any]], *, held: int = HELD) -> None:
        self._source = source
        self._held = held
        self._kept: Any = None

    def matching(self, pks: Any) -> Any:
        """The deletes of keys in the chunked array ``pks``, the newest of each, the oldest first."""
        return newest(self._among(pks), kind=pks.type)

    def all_matching(self, pks: Any) -> Any:
        """Likewise with the older ones, each once: who cuts off what is younger than a time falls back on them."""
        return _table(self._among(pks), [PK, TS], [], pks.type)

    def _among(self, pks: Any) -> list[Any]:
        found = []
        keys = pc.unique(pks)
        for piece in self._pieces():
            wanted = pc.cast(keys, piece.column(PK).type)
            found.append(piece.filter(pc.is_in(piece.column(PK), value_set=wanted)))
        return found

    def _pieces(self) -> Iterator[Any]:
        if self._kept is not None:
            yield from self._kept
            return
        first, count = None, 0
        for piece in self._read():
            first, count = piece if count == 0 else None, count + 1
            yield piece
        if count <= 1:
            self._kept = [first] if count else []

    def _read(self) -> Iterator[Any]:
        gathered: list[Any] = []
        size = 0
        for table in self._source():
            gathered.append(table)
            size += table.nbytes
            if size > self._held:
                yield pa.concat_tables(gathered)
                gathered, size = [], 0
        if gathered:
            yield pa.concat_tables(gathered)


def newest(tables: Iterable[Any], *, kind: Any = None) -> Any:
    """One table with the newest time of each key, the oldest first. ``kind``: of the keys where there are none."""
    return _table(tables, [PK], [(TS, "max")], kind)


def _table(tables: Iterable[Any], by: list[str], times: list[tuple[str, str]], kind: Any) -> Any:
    filled = [table.select([PK, TS]) for table in tables if table.num_rows]
    if not filled:
        return pa.table({PK: pa.array([], kind or pa.int64()), TS: pa.array([], pa.uint64())})
    grouped = pa.concat_tables(filled).group_by(by).aggregate(times)
    return grouped.rename_columns([PK, TS]).sort_by([(TS, "ascending"), (PK, "ascending")])


def hits(keys: Any, times: Any, deletes: Any) -> Any:
    """Which rows are deleted: those that are older than the delete of their key. One truth value a row."""
    places = pc.index_in(keys, value_set=deletes.column(PK).combine_chunks())
    deleted = deletes.column(TS).combine_chunks().take(places)
    return pc.fill_null(pc.greater(deleted, pc.cast(times, pa.uint64())), False)
