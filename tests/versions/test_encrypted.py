"""Encrypted databases: their key goes into the backup, and with every import; another zone's in its place when asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pymilvus import DataType, MilvusClient

from mbk.errors import ImportFailed
from tests.milvus_double.encryption import ROOT_KEY, ZONE, exported_key
from tests.milvus_double.records import ImportJob
from tests.raising import raised
from tests.versions.everything import rows_of
from tests.versions.places import Place, place

DATABASE = "vault"


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A backup of an encrypted database: two segments of rows, deletes in an L0 segment."""
    with place(tmp_path_factory.mktemp("vault"), "v2.6.12") as found:
        client = MilvusClient(uri=found.double.uri)
        client.create_database(DATABASE, properties={ZONE: "7", ROOT_KEY: "root"})
        client.use_database(DATABASE)
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("pk", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        client.create_collection("docs", schema=schema)
        for start in (0, 20):
            client.insert("docs", [{"pk": key, "vector": [1.0, 2.0]} for key in range(start, start + 20)])
            client.flush("docs")
        client.delete("docs", ids=[3, 30])
        with found.session() as session:
            session.create("vault", format="binlog")
        yield found
        client.close()


def keys_sent(found: Place, collection: str) -> set[str]:
    with found.double.state.lock:
        jobs: list[ImportJob] = list(found.double.state.jobs.values())
        return {job.options.get("ezk", "") for job in jobs if job.collection == collection}


def key_of(found: Place) -> str:
    return exported_key(found.double.state.databases[DATABASE])


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
def test_rows_and_deletes_come_back_with_the_key_of_the_backup(vault: Place, rest: bool) -> None:
    name = f"docs_{rest}".lower()
    with vault.session() as session:
        session.restore("vault", rename=f"{DATABASE}.docs:{DATABASE}.{name}", rest_import=rest)
    assert rows_of(vault.double, DATABASE, name) == rows_of(vault.double, DATABASE, "docs")
    assert keys_sent(vault, name) == {key_of(vault)}


def test_the_key_of_another_zone_is_sent_in_its_place(vault: Place) -> None:
    vault.double.state.databases["default"].properties.update({ZONE: "8", ROOT_KEY: "other"})
    other = exported_key(vault.double.state.databases["default"])
    with vault.session() as session:
        session.restore("vault", rename=f"{DATABASE}.docs:default.mapped", ezk_mapping={key_of(vault): other})
    assert rows_of(vault.double, "default", "mapped") == rows_of(vault.double, DATABASE, "docs")
    assert keys_sent(vault, "mapped") == {other}


def test_a_key_that_milvus_refuses_is_not_shown(vault: Place) -> None:
    secret = "c2VjcmV0IG9mIGEgem9uZQ=="
    with vault.session() as session, raised(ImportFailed, "import-failed") as refused:
        session.restore(
            "vault", rename=f"{DATABASE}.docs:{DATABASE}.refused", ezk_mapping={key_of(vault): secret}
        )
    assert "invalid import ezk" in str(refused.value.facts["reason"])
    assert secret not in str(refused.value)
    assert key_of(vault) not in str(refused.value)
    assert "refused" not in vault.double.state.databases[DATABASE].collections
