"""Deletes as a set that can be matched with the keys of a segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mbk.binlog.arrow import pa, pc
from mbk.binlog.deltas import PK, TS

#: Bytes of deletes in memory: about 16 million keys of type Int64 with their times.
CACHED = 256 << 20


class Deletes:
    """Deleted keys and their times.

    ``source`` returns the tables of :func:`mbk.binlog.deltas.read`, from the start on each call. Up to ``cached`` bytes
    are read once and kept; more than that are read again for every segment, in pieces: slow, but of bounded memory.
    Deletes are looked up among the keys of a segment, because a segment is small.
    """

    def __init__(self, source: Callable[[], Iterator[Any]], *, cached: int = CACHED) -> None:
        self._source = source
        self._cached = cached
        self._kept: Any = None

    def matching(self, pks: Any) -> Any:
        """The newest delete of each key in the chunked array ``pks``, the oldest first."""
        return newest(self._among(pks), kind=pks.type)

    def all_matching(self, pks: Any) -> Any:
        """All deletes of these keys, each once: a restore that truncates at a time needs the older ones."""
        return _table(self._among(pks), [PK, TS], [], pks.type)

    def _among(self, pks: Any) -> list[Any]:
        matches = []
        keys = pc.unique(pks)
        for piece in self._pieces():
            values = pc.cast(keys, piece.column(PK).type)
            matches.append(piece.filter(pc.is_in(piece.column(PK), value_set=values)))
        return matches

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
            if size > self._cached:
                yield pa.concat_tables(gathered)
                gathered, size = [], 0
        if gathered:
            yield pa.concat_tables(gathered)


def newest(tables: Iterable[Any], *, kind: Any = None) -> Any:
    """One table with the newest time of each key, the oldest first. ``kind``: the type of the keys if there are none."""
    return _table(tables, [PK], [(TS, "max")], kind)


def _table(tables: Iterable[Any], by: list[str], times: list[tuple[str, str]], kind: Any) -> Any:
    filled = [table.select([PK, TS]) for table in tables if table.num_rows]
    if not filled:
        return pa.table({PK: pa.array([], kind or pa.int64()), TS: pa.array([], pa.uint64())})
    grouped = pa.concat_tables(filled).group_by(by).aggregate(times)
    return grouped.rename_columns([PK, TS]).sort_by([(TS, "ascending"), (PK, "ascending")])


def hits(keys: Any, times: Any, deletes: Any) -> Any:
    """Which rows are deleted: those older than the delete of their key. One boolean a row."""
    places = pc.index_in(keys, value_set=deletes.column(PK).combine_chunks())
    deleted = deletes.column(TS).combine_chunks().take(places)
    return pc.fill_null(pc.greater(deleted, pc.cast(times, pa.uint64())), False)
