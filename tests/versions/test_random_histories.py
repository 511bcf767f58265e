"""Whatever was inserted, deleted, replaced, flushed and compacted, in whatever order: a backup has the rows of its line.

The histories are random and always the same: a seed is the name of a failure. While the backup is made, the history goes
on between the line and the list of segments, the moment at which a server can be caught in the middle.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

from mbk.model.reports import RunReport
from tests.milvus_double.server import MilvusDouble
from tests.versions.places import Place, place

#: Deletes in the segments' own logs; in L0 segments; exact lists over REST; packed, with one line over all collections.
VERSIONS = ("v2.3.5", "v2.4.23", "v2.5.8", "v2.6.12")
PARTITIONS = ("_default", "p1", "p2")
KEYS = 50
STEPS = {
    "insert": 6,
    "delete": 5,
    "delete_in": 2,
    "replace": 3,
    "flush": 4,
    "compact": 2,
    "collect_garbage": 1,
}

Key = int | str
#: Partition -> row id, timestamp, key and text of every row that no delete reaches. Twice is twice.
Rows = dict[str, list[tuple[int, int, Key, str]]]


class History:
    """One collection, and the random client that works on it."""

    def __init__(self, double: MilvusDouble, seed: int) -> None:
        self.double = double
        self.name = f"history_{seed}"
        self.random = random.Random(f"{double.version.name} {seed}")
        self.done: list[str] = []
        self.client = MilvusClient(uri=double.uri)
        self._text_keys = self.random.random() < 0.4
        self._make(shards=self.random.choice((1, 2, 3)))
        self.steps(self.random.randint(0, 25))

    def _make(self, *, shards: int) -> None:
        schema = MilvusClient.create_schema(auto_id=False)
        kind = DataType.VARCHAR if self._text_keys else DataType.INT64
        schema.add_field("pk", kind, is_primary=True, max_length=64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        schema.add_field("text", DataType.VARCHAR, max_length=64)
        self.client.create_collection(self.name, schema=schema, num_shards=shards, consistency_level="Strong")
        index = self.client.prepare_index_params()
        index.add_index(field_name="vector", index_type="FLAT", metric_type="L2")
        self.client.create_index(self.name, index)
        for partition in PARTITIONS[1:]:
            self.client.create_partition(self.name, partition)
        self.client.load_collection(self.name)

    def steps(self, count: int) -> None:
        for step in self.random.choices([*STEPS], [*STEPS.values()], k=count):
            self.done.append(step)
            getattr(self, f"_{step}")(self.random.choice(PARTITIONS))

    def _insert(self, partition: str) -> None:
        self.client.insert(self.name, self._rows(12), partition_name=partition)

    def _replace(self, partition: str) -> None:
        self.client.upsert(self.name, self._rows(8), partition_name=partition)

    def _delete(self, _partition: str) -> None:
        self.client.delete(self.name, filter=self._some(8))

    def _delete_in(self, partition: str) -> None:
        self.client.delete(self.name, filter=self._some(8), partition_name=partition)

    def _flush(self, _partition: str) -> None:
        self.client.flush(self.name)

    def _compact(self, _partition: str) -> None:
        self.double.compact("default", self.name)

    def _collect_garbage(self, _partition: str) -> None:
        self.double.collect_garbage(tolerance=self.random.choice((0.0, 1e9)))

    def _rows(self, most: int) -> list[dict[str, Any]]:
        return [
            {"pk": key, "vector": [self.random.random(), 1.0], "text": f"{self.random.random()}"}
            for key in self._keys(most)
        ]

    def _keys(self, most: int) -> list[Key]:
        keys = self.random.sample(range(KEYS), self.random.randint(1, most))
        return [f"key '{key}\" ß" for key in keys] if self._text_keys else [*keys]

    def _some(self, most: int) -> str:
        return f"pk in {json.dumps(self._keys(most), ensure_ascii=False)}"

    def rows(self, name: str = "") -> Rows:
        with self.double.state.lock:
            found = self.double.state.collection("default", name or self.name)
            text = next(field.fieldID for field in found.fields if field.name == "text")
            rows: Rows = {partition: [] for partition in found.partitions}
            names = {partition.id: partition.name for partition in found.partitions.values()}
            for segment in found.live_segments():
                if segment.readable and not segment.is_l0:
                    rows[names[segment.partition_id]] += [
                        (row.row_id, row.timestamp, row.pk, row.values[text])
                        for row in self.double.state.live_rows(found, segment)
                    ]
            return {partition: sorted(items) for partition, items in rows.items()}


class Caught:
    """A backup of a history that goes on while the backup is made. ``lines``: the rows at each flush that mbk asked for; a
    compaction makes it ask again, and the last one counts."""

    def __init__(
        self, found: Place, seed: int, *, history: History | None = None, incremental: bool = False
    ) -> None:
        self.place = found
        self.history = history or History(found.double, seed)
        self.name = f"backup_{seed}"
        self.lines: list[Rows] = []
        self._going_on = False
        faults = found.double.faults
        for call in ("Flush", "FlushAll"):
            faults.change_answer(call, self._go_on, times=None)
        with found.session() as session:
            session.create(self.name, filter=self.history.name, format="binlog", incremental=incremental)
        faults.clear()
        self.later = self.history.rows()

    def _go_on(self, _request: Any, _response: Any) -> None:
        if self._going_on:
            return
        self.lines.append(self.history.rows())
        if len(self.lines) == 1:
            self._going_on = True
            self.history.steps(self.history.random.randint(0, 8))
            self._going_on = False

    @property
    def line(self) -> Rows:
        return self.lines[-1]

    def restored(self, backup: str = "", *, to: str = "back", **options: Any) -> tuple[Rows, RunReport]:
        target = f"{self.history.name}_{to}"
        with self.place.session() as session:
            report = session.restore(
                backup or self.name, rename=f"{self.history.name}:{target}", drop_existing=True, **options
            )
        return self.history.rows(target), report

    def between(self, rows: Rows) -> bool:
        """What was there at the line and later is there, what was there at neither time may have been for a while."""
        return all(
            set(self.line[partition]) & set(self.later[partition]) <= set(items)
            and len(set(items)) == len(items)
            for partition, items in rows.items()
        )


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("histories")
    with place(directory, request.param) as found:
        yield found


@pytest.mark.parametrize("seed", range(2))
def test_a_backup_that_is_taken_amid_changes_has_the_rows_of_its_line(server: Place, seed: int) -> None:
    caught = Caught(server, seed)
    rows, report = caught.restored()
    assert rows == caught.line, caught.history.done
    (outcome,) = report.collections
    assert outcome.rows_present == outcome.rows_expected
    rows, _ = caught.restored(to="all", no_cut=True)
    assert caught.between(rows), caught.history.done
    rows, _ = caught.restored(to="parts", source_filter=f"{caught.history.name}/p*")
    assert rows["_default"] == []
    assert {name: rows[name] for name in PARTITIONS[1:]} == {
        name: caught.line[name] for name in PARTITIONS[1:]
    }, caught.history.done


def test_a_compacted_backup_has_the_same_rows(server: Place) -> None:
    caught = Caught(server, 3)
    plain = f"{caught.name}_plain"
    with server.session() as session:
        session.l0compact(caught.name, plain)
    assert caught.restored(plain)[0] == caught.restored()[0] == caught.line
    assert caught.restored(plain, no_cut=True)[0] == caught.restored(no_cut=True)[0]


@pytest.mark.parametrize("seed", [40, 50])
def test_incremental_backups_have_the_rows_of_their_own_lines(server: Place, seed: int) -> None:
    """Whatever later ones put beside their objects into the pool, in whatever order they are restored."""
    days = [Caught(server, seed, incremental=True)]
    history = days[0].history
    for number in range(1, 5):
        history.steps(history.random.randint(0, 12))
        days.append(Caught(server, seed + number, history=history, incremental=True))
    for day in history.random.sample(days, len(days)):
        rows, report = day.restored()
        assert rows == day.line, history.done
        (outcome,) = report.collections
        assert outcome.rows_present == outcome.rows_expected
        with server.session() as session:
            assert session.verify(day.name, depth="contents").is_whole
