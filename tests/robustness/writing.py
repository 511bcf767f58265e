"""Clients that write to a collection while it is backed up, and what the collection held at any time.

Each op's time is the server's own, so the rows at a consistency point are known exactly: the ops up to it, replayed.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import milvus_pb2_grpc, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

#: Rows that exist at all times, if the server can upsert; else they are left alone.
ALWAYS = 400
BATCH = 20
#: Keys of a thread that come and go.
CHURN = 200
#: Seconds between a flush with a compaction of another client and the next: without, a server does nothing else.
PAUSE = 1.0
#: Key -> the versions of it that are there.
Rows = Mapping[int, Sequence[int]]


class Wire:
    """A client that tells the server's timestamps."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.stub = milvus_pb2_grpc.MilvusServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def now(self) -> int:
        return int(self.stub.AllocTimestamp(milvus.AllocTimestampRequest()).timestamp)

    def create(self, name: str, *, shards: int) -> None:
        fields = [
            schema_pb2.FieldSchema(name="pk", data_type=DataType.Int64, is_primary_key=True),
            schema_pb2.FieldSchema(name="version", data_type=DataType.Int64),
            schema_pb2.FieldSchema(name="vector", data_type=DataType.FloatVector),
        ]
        fields[2].type_params.add(key="dim", value="2")
        schema = schema_pb2.CollectionSchema(name=name, fields=fields)
        request = milvus.CreateCollectionRequest(
            collection_name=name, schema=schema.SerializeToString(), shards_num=shards
        )
        _require(self.stub.CreateCollection(request))

    def load(self, name: str) -> None:
        request = milvus.CreateIndexRequest(collection_name=name, field_name="vector", index_name="vector")
        for key, value in (("index_type", "FLAT"), ("metric_type", "L2")):
            request.extra_params.add(key=key, value=value)
        _require(self.stub.CreateIndex(request))
        _require(
            self.stub.LoadCollection(milvus.LoadCollectionRequest(collection_name=name, replica_number=1))
        )
        progress = milvus.GetLoadingProgressRequest(collection_name=name)
        while self.stub.GetLoadingProgress(progress).progress < 100:
            threading.Event().wait(0.1)

    def insert(self, name: str, keys: Sequence[int], version: int) -> int:
        request = milvus.InsertRequest(collection_name=name, num_rows=len(keys))
        request.fields_data.extend(_columns(keys, version))
        return int(_answered(self.stub.Insert(request)).timestamp)

    def upsert(self, name: str, keys: Sequence[int], version: int) -> int:
        request = milvus.UpsertRequest(collection_name=name, num_rows=len(keys))
        request.fields_data.extend(_columns(keys, version))
        return int(_answered(self.stub.Upsert(request)).timestamp)

    def delete(self, name: str, keys: Sequence[int]) -> int:
        """0 where the server tells no time (2.3)."""
        expression = f"pk in [{', '.join(map(str, keys))}]"
        request = milvus.DeleteRequest(collection_name=name, expr=expression)
        return int(_answered(self.stub.Delete(request)).timestamp)

    def flush(self, name: str) -> None:
        self.stub.Flush(milvus.FlushRequest(collection_names=[name]))

    def compact(self, name: str) -> None:
        found = self.stub.DescribeCollection(milvus.DescribeCollectionRequest(collection_name=name))
        self.stub.ManualCompaction(milvus.ManualCompactionRequest(collectionID=found.collectionID))

    def drop(self, name: str) -> None:
        _require(self.stub.DropCollection(milvus.DropCollectionRequest(collection_name=name)))

    def rows(self, name: str, keys: range) -> Iterator[tuple[int, int]]:
        """Keys and versions, as a strongly consistent query gives them: each key once."""
        for start in range(keys.start, keys.stop, 10_000):
            request = milvus.QueryRequest(
                collection_name=name,
                expr=f"{start} <= pk < {min(start + 10_000, keys.stop)}",
                output_fields=["pk", "version"],
            )
            columns = {
                column.field_name: column.scalars.long_data.data
                for column in _answered(self.stub.Query(request)).fields_data
            }
            yield from zip(columns.get("pk", ()), columns.get("version", ()), strict=True)

    def count(self, name: str) -> int:
        request = milvus.QueryRequest(collection_name=name, output_fields=["count(*)"])
        return int(_answered(self.stub.Query(request)).fields_data[0].scalars.long_data.data[0])


def _columns(keys: Sequence[int], version: int) -> list[schema_pb2.FieldData]:
    columns = [schema_pb2.FieldData(type=DataType.Int64, field_name=name) for name in ("pk", "version")]
    columns[0].scalars.long_data.data.extend(keys)
    columns[1].scalars.long_data.data.extend([version] * len(keys))
    vector = schema_pb2.FieldData(type=DataType.FloatVector, field_name="vector")
    vector.vectors.dim = 2
    vector.vectors.float_vector.data.extend([0.5] * 2 * len(keys))
    return [*columns, vector]


def _answered(answer: object) -> object:
    _require(answer.status)  # type: ignore[attr-defined]  # answers of the stub have no types
    return answer


def _require(status: object) -> None:
    failed = status.code or status.error_code  # type: ignore[attr-defined]  # as above
    assert not failed, status


@dataclass(frozen=True, slots=True)
class Op:
    """``keys`` had ``version`` afterwards (None: they were gone). Its time is known to lie in ``low`` to ``high``."""

    low: int
    high: int
    keys: Sequence[int]
    version: int | None


@dataclass(slots=True)
class History:
    """What one client did, in its order; no other client touches its keys."""

    ops: list[Op] = field(default_factory=list)

    def at(self, point: int) -> dict[int, set[int | None]]:
        """Key -> what may be there at the point: one version or None; both where a time is uncertain."""
        found: dict[int, set[int | None]] = {}
        for op in self.ops:
            for key in op.keys:
                if op.high <= point:
                    found[key] = {op.version}
                elif op.low <= point:
                    found[key] = found.get(key, {None}) | {op.version}
        return found


class Writers:
    """``threads`` clients that write at full speed, and one that flushes and compacts if ``foreign``."""

    def __init__(
        self,
        address: str,
        name: str,
        *,
        seed: int,
        threads: int = 2,
        upserts: bool = True,
        foreign: bool = False,
    ) -> None:
        self.name, self._address, self._upserts, self._foreign = name, address, upserts, foreign
        self._random = random.Random(seed)
        self.histories = [History() for _ in range(threads)]
        self.always = range(ALWAYS)
        self.errors: list[BaseException] = []
        self._versions = 0
        self._stop = threading.Event()
        self._dropped = False
        self._lock = threading.Lock()

    def fill(self, wire: Wire) -> None:
        """The rows that exist at all times."""
        for number, history in enumerate(self.histories):
            keys = self._own_always(number)
            self._put(wire, history, keys)

    @contextmanager
    def working(self) -> Iterator[None]:
        works = [(self._write, (number,)) for number in range(len(self.histories))]
        threads = [threading.Thread(target=self._guarded, args=(work, *args)) for work, args in works]
        if self._foreign:
            threads.append(threading.Thread(target=self._guarded, args=(self._disturb,)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        assert not self.errors, self.errors

    def drop(self, wire: Wire) -> None:
        """Amid the writes, which fail from then on."""
        self._dropped = True
        wire.drop(self.name)

    def wait(self, ops: int = 20) -> None:
        """Until so many ops are done."""
        while self.ops < ops and not self.errors:
            self._stop.wait(0.01)

    @property
    def ops(self) -> int:
        return sum(len(history.ops) for history in self.histories)

    def at(self, point: int) -> dict[int, set[int | None]]:
        found: dict[int, set[int | None]] = {}
        for history in self.histories:
            found |= history.at(point)
        return found

    def _own_always(self, number: int) -> list[int]:
        return [key for key in self.always if key % len(self.histories) == number]

    def _guarded(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - the test shows it
            if not self._dropped:
                self.errors.append(error)

    def _next(self) -> int:
        with self._lock:
            self._versions += 1
            return self._versions

    def _put(self, wire: Wire, history: History, keys: Sequence[int], *, replace: bool = False) -> None:
        version = self._next()
        time = (wire.upsert if replace else wire.insert)(self.name, keys, version)
        history.ops.append(Op(time, time, keys, version))

    def _remove(self, wire: Wire, history: History, keys: Sequence[int]) -> None:
        low = wire.now()
        time = wire.delete(self.name, keys)
        history.ops.append(Op(time or low, time or wire.now(), keys, None))

    def _write(self, number: int) -> None:
        wire, history = Wire(self._address), self.histories[number]
        chance = random.Random(self._random.random())
        always = self._own_always(number)
        churn = range(ALWAYS + number * CHURN, ALWAYS + (number + 1) * CHURN)
        there: set[int] = set()
        while not self._stop.is_set():
            if self._upserts:
                self._put(wire, history, chance.sample(always, BATCH), replace=True)
            new = chance.sample([key for key in churn if key not in there], BATCH)
            self._put(wire, history, new)
            there |= set(new)
            again = chance.sample(sorted(there), min(BATCH // 2, len(there)))
            self._remove(wire, history, again)
            self._put(wire, history, again)
            if len(there) > CHURN // 2:
                gone = chance.sample(sorted(there), BATCH)
                self._remove(wire, history, gone)
                there -= set(gone)
        wire.close()

    def _disturb(self) -> None:
        wire = Wire(self._address)
        while not self._stop.is_set():
            wire.flush(self.name)
            wire.compact(self.name)
            self._stop.wait(PAUSE)
        wire.close()


@dataclass(frozen=True, slots=True)
class Findings:
    """How a restored collection differs from what was there at its point. ``missing``: of the rows that always exist."""

    missing: int
    doubled: int
    wrong: int
    ops: int

    @property
    def faults(self) -> tuple[int, int, int]:
        """All are 0 after a restore of the state at the point."""
        return self.missing, self.doubled, self.wrong


def compared(writers: Writers, rows: Rows, point: int) -> Findings:
    expected = writers.at(point)
    missing = sum(key not in rows for key in writers.always)
    doubled = sum(len(versions) > 1 for versions in rows.values())
    wrong = sum(
        not set(rows.get(key, [None])) <= allowed
        for key, allowed in expected.items()  # type: ignore[list-item]  # a key that is missing has the version None
    )
    strange = sum(key not in expected for key in rows)
    return Findings(missing, doubled, wrong + strange, writers.ops)


def by_key(pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for key, version in pairs:
        found.setdefault(key, []).append(version)
    return found


def total(findings: Iterable[Findings]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for item in findings:
        counted.update(rounds=1, missing=item.missing, doubled=item.doubled, wrong=item.wrong, ops=item.ops)
    return counted
