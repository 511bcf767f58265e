"""``restore --drop_exist_collection`` on the double of every version: beside, renamed, with the aliases of the old one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymilvus import DataType, MilvusClient

from tests.milvus_double.versions import PLAYED
from tests.versions.everything import rows_of
from tests.versions.places import place


def make(client: MilvusClient, count: int, *, alias: str = "") -> None:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    client.create_collection("docs", schema=schema)
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index("docs", params)
    client.insert("docs", [{"pk": key, "vector": [float(key)] * 4} for key in range(count)])
    client.flush("docs")
    client.load_collection("docs")
    if alias:
        client.create_alias("docs", alias)


@pytest.mark.parametrize("version", PLAYED)
def test_a_collection_is_replaced_with_its_alias_and_its_load_state(version: str, tmp_path: Path) -> None:
    with place(tmp_path, version) as found, found.session() as session:
        client = MilvusClient(uri=found.double.uri)
        make(client, 20)
        saved = rows_of(found.double, "default", "docs")
        session.create("one", format="binlog")
        client.drop_collection("docs")
        make(client, 7, alias="current")
        asked: list[str] = []
        found.double.hooks.append(Asked(asked))
        session.restore("one", drop_existing=True, rebuild_index=True)
        assert rows_of(found.double, "default", "docs") == saved
        with found.double.state.lock:
            (left,) = found.double.state.collections.values()
        assert (left.name, left.aliases) == ("docs", ["current"])
        assert all(part.loaded for part in left.partitions.values())
        assert [call for call in asked if call in CHANGES] == [
            "CreateCollection", "RenameCollection", "RenameCollection", "AlterAlias", "DropCollection"
        ]  # fmt: skip


CHANGES = frozenset({"CreateCollection", "RenameCollection", "AlterAlias", "DropCollection"})


class Asked:
    """The calls, in order."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    def before(self, method: str, request: object) -> None:
        self._calls.append(method)

    def after(self, method: str, request: object, answer: object) -> None:
        pass
