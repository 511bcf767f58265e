"""One Milvus with one collection that has objects of every kind, and a backup of it that each trial gets a copy of."""

from __future__ import annotations

import random
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from pymilvus import DataType, MilvusClient

import mbk
from mbk.engine.runtime.pace import Pace
from mbk.registry.registry import Registry
from mbk.session import Session
from tests.e2e.data import Clients, Coll
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_local
from tests.e2e.site import local_storage
from tests.milvus_double.server import MilvusDouble
from tests.robustness.pace import CALM
from tests.versions.everything import rows_of

#: A real server of this version is at hand; the others are played.
REAL = "2.3.5"
BACKUP = "made"
NAME = "docs"
ROWS = 40


@dataclass(slots=True)
class Scene:
    """``template`` is the directory of the backups, with one in it; ``wanted`` are its rows by primary key."""

    server: Any
    directory: Path
    coll: Coll
    template: Path
    wanted: dict[Any, Any] = field(default_factory=dict)
    #: The same rows as a double keeps them, with row ids and times.
    exact: Any = None
    _numbers: Iterator[int] = field(default_factory=count)

    def fresh(self, *, empty: bool = False) -> Path:
        """A directory for backups of one trial: a copy of the template, or an empty one."""
        made = self.directory / f"trial-{next(self._numbers)}"
        if empty:
            made.mkdir()
        else:
            shutil.copytree(self.template, made)
        return made

    def config(self, backups: Path) -> Path:
        """The configuration file of a trial, as a user writes it."""
        milvus: dict[str, Any] = {
            "user": "root",
            "password": "Milvus",
            "grpc": {"address": self.server.address, "port": self.server.port},
            "management": {"endpoint": self.server.management_url},
            "storage": local_storage(self.server.storage_root),
        }
        if isinstance(self.server, MilvusDouble):
            milvus["rest"] = {"endpoint": self.server.rest_url}
        tree = {
            "configVersion": "v2",
            "log": {"level": "error"},
            "milvus": milvus,
            "backup": {"storage": local_storage(backups)},
        }
        file = backups.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return file

    def session(self, backups: Path, *, registry: Registry | None = None, pace: Pace = CALM) -> Session:
        return mbk.connect(self.config(backups), registry=registry, pace=pace)

    def rows(self, name: str = NAME) -> dict[Any, Any] | None:
        """All rows by primary key; None without the collection."""
        found = self.coll.moved(name)
        if not found.exists():
            return None
        if name != NAME or not self._is_loaded(name):
            self.ready(name)
        return found.rows()

    def _is_loaded(self, name: str) -> bool:
        return "Loaded" in str(self.coll.client.get_load_state(name)["state"])

    def ready(self, name: str) -> None:
        """An index and the load that queries need; restores bring both only when asked."""
        coll = self.coll.moved(name)
        if not coll.client.list_indexes(name):
            coll.index({"field_name": "vector", "index_type": "FLAT", "metric_type": "L2"})
        coll.load()

    def change(self) -> None:
        """Makes what lives under the name different from what is in the backup."""
        number = 1000 + 10 * next(self._numbers)
        self.coll.insert(rows(range(number, number + 10)))

    def alive(self) -> bool:
        """Whether the server answers; a real one dies of damaged input."""
        if isinstance(self.server, MilvusDouble):
            return True
        try:
            with urllib.request.urlopen(f"{self.server.management_url}/healthz", timeout=10) as answer:
                return bool(answer.read().strip() == b"OK")
        except OSError:
            return False


def rows(keys: range) -> list[dict[str, Any]]:
    chance = random.Random(keys.start)
    return [
        {
            "pk": key,
            "vector": [chance.random() for _ in range(4)],
            "text": f"text {chance.random():.8f}",
            "extra": key * 2,
        }
        for key in keys
    ]


def fill(coll: Coll) -> None:
    """Two segments of as many rows in one partition, one in another; deletes in some."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("text", DataType.VARCHAR, max_length=64)
    client = coll.client
    client.create_collection(coll.name, schema=schema, num_shards=1, consistency_level="Strong")
    client.create_partition(coll.name, "cold")
    coll.index({"field_name": "vector", "index_type": "FLAT", "metric_type": "L2"})
    coll.load()
    for start, partition in ((0, "_default"), (100, "_default"), (200, "cold")):
        coll.insert(rows(range(start, start + ROWS)), partition=partition)
        coll.flush()
    for delete in ([5, 105, 205], [6, 106, 206]):
        coll.delete(delete)
        coll.flush()


@contextmanager
def scene(directory: Path, version: str, settings: Sequence[Any] = ()) -> Iterator[Scene]:
    """A running server of ``version``, filled and backed up; then its rows change."""
    with opened(directory, version) as server, Clients(server) as clients:
        coll = Coll(clients, "default", NAME)
        fill(coll)
        found = Scene(server, directory, coll, directory / "template")
        found.template.mkdir()
        found.wanted = coll.rows()
        if isinstance(server, MilvusDouble):
            found.exact = rows_of(server, "default", NAME)
        with found.session(found.template) as session:
            session.create(BACKUP, format="binlog")
        found.change()
        yield found


@contextmanager
def opened(directory: Path, version: str) -> Iterator[Any]:
    if version == REAL:
        with milvus_local(directory / "milvus", STABLE_SEGMENTS) as server:
            yield server
    else:
        with MilvusDouble(f"v{version}", home=directory / "milvus", flush_rate=0) as double:
            # A trial is compared with the one that nothing disturbed.
            double.state.sort_seconds = 3600.0
            yield double
