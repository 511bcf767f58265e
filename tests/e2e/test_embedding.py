"""The example of embedding in the documentation does what it says, on a real server."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pymilvus import DataType, MilvusClient

from mbk.demo.embedded import EmbeddedMilvus
from tests.docs.pages import Page
from tests.e2e.data import Clients

SHOP, COPY, COLLECTION = "shop", "shop_copy", "products"
ROWS = 200


@pytest.fixture
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    """A database as the example expects it; it and its copy are gone afterwards."""
    with Clients(milvus) as clients:
        _fill(clients[clients.database(SHOP)])
        yield clients
        for database in {SHOP, COPY} & set(clients.databases):
            for name in clients[database].list_collections():
                clients[database].drop_collection(name)
            clients["default"].drop_database(database)


def _fill(shop: MilvusClient) -> None:
    schema = shop.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    index = shop.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    shop.create_collection(COLLECTION, schema=schema, index_params=index)
    chance = random.Random(7)
    shop.insert(
        COLLECTION, [{"id": number, "vector": [chance.random() for _ in range(4)]} for number in range(ROWS)]
    )


def rows(client: MilvusClient) -> dict[int, list[float]]:
    client.load_collection(COLLECTION)
    found = client.query(
        COLLECTION, filter="id >= 0", output_fields=["id", "vector"], consistency_level="Strong"
    )
    return {row["id"]: row["vector"] for row in found}


def configuration(milvus: EmbeddedMilvus, backups: Path) -> str:
    tree = {
        "milvus": {"address": milvus.address, "port": milvus.port},
        "minio": {
            "storageType": "local",
            "rootPath": str(milvus.storage_root),
            "backupRootPath": str(backups),
        },
        "backup": {"gcPause": {"enable": False}},
    }
    return yaml.safe_dump(tree)


def test_the_documented_example_backs_up_and_restores(
    milvus: EmbeddedMilvus, clients: Clients, tmp_path: Path
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "backup.yaml").write_text(configuration(milvus, tmp_path / "backups"))
    example = Page("docs/how-to/embed-in-a-program.md").blocks[0].text
    run = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    created, restored = run.stdout.splitlines()
    assert created.startswith(f"local://{tmp_path}/backups/nightly: ")
    assert restored == f"{COPY}.{COLLECTION}: {ROWS} of {ROWS} rows"
    assert (tmp_path / "backups/nightly/meta/full_meta.json").is_file()

    copies = rows(clients[COPY])
    assert len(copies) == ROWS
    assert copies == rows(clients[SHOP])
