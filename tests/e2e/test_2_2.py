"""One cycle on Milvus 2.2.16, which has no arrays, no count(*) and only the metrics L2 and IP."""

from __future__ import annotations

from pathlib import Path

from pymilvus import DataType, MilvusClient

from mbk.demo.embedded import EmbeddedMilvus
from mbk.model.events import Event, Notice
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import local_storage, make_site, outcome_of


def _coll(clients: Clients, database: str) -> Coll:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("word", DataType.VARCHAR, max_length=200)
    schema.add_field("document", DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=data.DIMENSION)
    coll = Coll(clients, database, "coll", output=("pk", "word", "document", "extra"))
    coll.client.create_collection(coll.name, schema=schema, consistency_level="Strong")
    coll.client.create_partition(coll.name, "p1")
    coll.index(data.IVF)
    return coll


def test_a_backup_and_its_restore_on_2_2(milvus_2_2: EmbeddedMilvus, tmp_path: Path) -> None:
    site = make_site(
        tmp_path / "backup.yaml",
        milvus_2_2,
        local_storage(milvus_2_2.storage_root),
        local_storage(tmp_path / "backups"),
    )
    with Clients(milvus_2_2) as clients:
        database = clients.database("cycle")
        coll = _coll(clients, database)
        rows = [
            {**row, "document": {"n": row["pk"]}, "extra": row["pk"] * 2}
            for row in data.plain_rows(range(600))
        ]
        coll.insert(rows[:200])
        coll.flush()
        coll.insert(rows[200:400])
        coll.insert(rows[400:], partition="p1")
        coll.load()
        # In one flush with their rows: this server does not persist deletes of flushed segments.
        coll.delete(range(390, 410))
        # Again, before the flush: this server's imports would take them for deleted (milvus issue 29162).
        again = [{**row, "word": f"again {row['pk']}"} for row in rows[395:400]]
        coll.insert(again)
        coll.insert([{**rows[405], "word": "again 405"}], partition="p1")
        with site.session() as session:
            events: list[Event] = []
            created = session.create("cycle", filter=f"{database}.*", on_event=events.append)
            report = session.restore("cycle", suffix="_back", rebuild_index=True)
        assert "deletes-not-flushed" in [event.code for event in events if isinstance(event, Notice)]
        assert outcome_of(created, coll).rows_expected == 586
        copy = coll.moved("coll_back")
        assert outcome_of(report, copy).rows_present == 586
        assert copy.indexes() == coll.indexes()
        # This server gives vectors to nobody: they are compared by what a search with them finds.
        vectors = [row["vector"] for row in rows[::50]]
        assert_same(coll, copy, rows=coll.rows())
        assert copy.hits(vectors) == coll.hits(vectors)
        assert copy.rows(partition="p1").keys() == coll.rows(partition="p1").keys()
