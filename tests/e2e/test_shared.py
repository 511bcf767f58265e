"""Incremental backups of a real Milvus on S3: three days with deletes between them, each restored from the pool of its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from pymilvus import DataType, MilvusClient

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import DamageFound
from mbk.model.reports import RunReport, VerifyReport
from mbk.session import Session
from tests.e2e.data import Clients, Coll
from tests.e2e.site import ROOT, make_site, s3_storage
from tests.servers.s3 import S3Server

BUCKET, POOL = "milvus", "backup/.mbk/pool/"


@dataclass(slots=True)
class Days:
    """``one`` has a single segment, ``many`` several; what each had on a day: (collection, day) -> primary keys."""

    session: Session
    one: Coll
    many: Coll
    store: S3Server
    kept: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    made: dict[str, RunReport] = field(default_factory=dict)

    def ends(self, day: str) -> None:
        self.made[day] = self.session.create(day, filter=f"{self.one},{self.many}", incremental=True)
        for coll in (self.one, self.many):
            self.kept[coll.name, day] = set(coll.rows())

    def restored(self, coll: Coll, day: str) -> tuple[RunReport, set[int]]:
        copy = coll.moved(f"{coll.name}_{day}")
        report = self.session.restore(day, filter=str(copy), suffix=f"_{day}", rebuild_index=True, load=True)
        return report, set(copy.rows())


def made(clients: Clients, database: str, name: str) -> Coll:
    coll = Coll(clients, database, name)
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    coll.client.create_collection(name, schema=schema, num_shards=1, consistency_level="Strong")
    coll.index({"field_name": "vector", "index_type": "FLAT", "metric_type": "L2"})
    coll.load()
    return coll


def insert(coll: Coll, keys: range) -> None:
    coll.insert([{"pk": key, "vector": [float(key)] * 4} for key in keys])
    coll.flush()


@pytest.fixture(scope="module")
def days(
    milvus_s3: EmbeddedMilvus, milvus_store: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Days]:
    storages = (s3_storage(milvus_store, BUCKET, root) for root in (ROOT, "backup"))
    site = make_site(tmp_path_factory.mktemp("site") / "backup.yaml", milvus_s3, *storages)
    with Clients(milvus_s3) as clients, site.session() as session:
        database = clients.database("shared")
        one, many = made(clients, database, "one"), made(clients, database, "many")
        found = Days(session, one, many, milvus_store)
        insert(one, range(500))
        for start in (0, 500, 1000):
            insert(many, range(start, start + 500))
        found.ends("mon")
        for coll in (one, many):
            coll.delete([1, 2, 3])
            coll.flush()
        found.ends("tue")
        for coll in (one, many):
            coll.delete([3, 4, 5, 499])
            coll.flush()
        insert(many, range(2000, 2100))
        found.ends("wed")
        yield found


def test_a_day_costs_what_changed_on_it(days: Days) -> None:
    mon, tue, wed = (days.made[day].transfer.objects for day in ("mon", "tue", "wed"))
    assert set(mon) == {"server"}
    assert tue == {"reused": mon["server"], "server": 2}
    assert wed == {"reused": mon["server"] + 2, "server": 2 + 4}


@pytest.mark.parametrize("day", ["tue", "mon", "wed"])
def test_each_day_restores_to_its_own_rows(days: Days, day: str) -> None:
    report, rows = days.restored(days.many, day)
    assert rows == days.kept["many", day]
    (outcome,) = report.collections
    assert outcome.rows_expected == outcome.rows_present == len(rows)


@pytest.mark.parametrize(("day", "directly"), [("mon", True), ("tue", True), ("wed", False)])
def test_milvus_imports_from_the_pool_what_lies_there_alone(days: Days, day: str, directly: bool) -> None:
    """On Wednesday the delete logs of the only segment lie below two ids."""
    report, rows = days.restored(days.one, day)
    assert rows == days.kept["one", day]
    assert bool(report.transfer.objects) is not directly


def verified(days: Days, day: str) -> VerifyReport:
    try:
        return days.session.verify(day, depth="contents")
    except DamageFound as found:
        return cast("VerifyReport", found.report)


def test_damage_concerns_all_days_that_have_it_and_the_next_backup_heals_them(days: Days) -> None:
    client = days.store.client()
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{POOL}{days.made['mon'].id}/")["Contents"]
    key = next(
        item["Key"]
        for item in listed
        if "/insert_log/" in item["Key"] and item["Key"].split("/")[-2] == "101"
    )
    content = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=key, Body=content[:-1] + bytes([content[-1] ^ 1]))
    assert verified(days, "tue").concerns == ("mon", "tue", "wed")
    days.session.create("thu", filter=f"{days.one},{days.many}", incremental=True)
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content
    for day in ("mon", "tue", "wed", "thu"):
        assert verified(days, day).is_whole
