"""What lies in the binlogs of the fake Milvus, and how it is read: as an import reads them, so that errors show."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mbk.model.records import CollectionSchema, FieldSchema, IndexInfo, KeyValue
from mbk.ports.storage import Storage

ROW_ID, TIMESTAMP, KEY, VALUE = 0, 1, 100, 101

#: (primary key, value) as a query gives it.
Row = tuple[int, str]
#: (primary key, timestamp).
Delete = tuple[int, int]


def schema(name: str) -> CollectionSchema:
    return CollectionSchema(
        name=name,
        fields=[
            FieldSchema(field_id=KEY, name="id", is_primary_key=True, data_type=5),
            FieldSchema(
                field_id=VALUE, name="text", data_type=21, type_params=[KeyValue(key="max_length", value="9")]
            ),
        ],
    )


@dataclass(slots=True)
class Segment:
    """``logs`` field -> log ids and ``deltas``: what the server holds for the segment's, orphans in the storage excluded."""

    id: int
    partition: int
    rows: int
    is_l0: bool = False
    storage_version: int = 0
    logs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    deltas: tuple[int, ...] = ()


@dataclass(slots=True)
class Collection:
    database: str
    name: str
    id: int
    schema: CollectionSchema
    partitions: dict[str, int]
    shards: int = 1
    segments: list[Segment] = field(default_factory=list)
    growing: list[tuple[str, list[tuple[int, int, str]]]] = field(default_factory=list)
    indexes: list[IndexInfo] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    loaded: bool = False
    external: bool = False


class BadImport(Exception):
    pass


class Objects:
    """The payloads in a storage. A binlog is a JSON list of one field's values, a delta log one of deletes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def rows(self, prefix: str, *, only: Container[int] | None = None) -> list[tuple[int, int, str]]:
        """(key, timestamp, value) of each row; files of a field in lexicographic order, as Milvus pairs them.

        ``only``: the log ids that count; an import takes whatever lies there.
        """
        logs: defaultdict[int, list[str]] = defaultdict(list)
        for entry in self._storage.list(prefix):
            number, log = map(int, entry.key.split("/")[-2:])
            if only is None or log in only:
                logs[number].append(entry.key)
        if not {ROW_ID, TIMESTAMP, KEY, VALUE} <= logs.keys():
            raise BadImport(
                f"no binlog for field: {sorted({ROW_ID, TIMESTAMP, KEY, VALUE} - logs.keys())} in {prefix}"
            )
        if len({len(keys) for keys in logs.values()}) > 1:
            raise BadImport(f"misaligned binlog count in {prefix}")
        columns = [list(self._values(sorted(logs[number]))) for number in (KEY, TIMESTAMP, VALUE)]
        return list(zip(*columns, strict=True))

    def _values(self, keys: list[str]) -> Iterator[object]:
        for key in keys:
            yield from self._load(key)

    def deletes(self, prefix: str) -> list[Delete]:
        return [(key, ts) for entry in self._storage.list(prefix) for key, ts in self._load(entry.key)]

    def _load(self, key: str) -> list[object]:
        with self._storage.read(key) as chunks:
            loaded = json.loads(b"".join(chunks))
        assert isinstance(loaded, list)
        return loaded

    def put_rows(
        self, prefix: str, rows: Sequence[tuple[int, int, str]], ids: Iterator[int]
    ) -> dict[int, tuple[int, ...]]:
        """Two binlogs a field, where there are enough rows. Returns field -> log ids."""
        half = -(-len(rows) // 2)
        logs: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
        for chunk in filter(None, (rows[:half], rows[half:])):
            keys, stamps, values = zip(*chunk, strict=True)
            for number, column in ((ROW_ID, stamps), (TIMESTAMP, stamps), (KEY, keys), (VALUE, values)):
                log = next(ids)
                self.put(f"{prefix}{number}/{log}", column)
                logs[number] += (log,)
        return dict(logs)

    def put(self, key: str, values: Sequence[object]) -> None:
        self._storage.write(key, [json.dumps(values).encode()])


def newest_deletes(deletes: Iterable[Delete]) -> dict[int, int]:
    newest: dict[int, int] = {}
    for key, ts in deletes:
        newest[key] = max(ts, newest.get(key, 0))
    return newest


def position(channel: str, timestamp: int) -> bytes:
    """An encoded ``msgpb.MsgPosition``."""
    name = channel.encode()
    return b"\x0a" + _varint(len(name)) + name + b"\x20" + _varint(timestamp)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
