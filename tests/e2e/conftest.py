"""Real servers, one of each a module: an idle one takes a third of a core, and a start takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbk.demo.embedded import EmbeddedMilvus, S3Target
from tests.e2e.data import Clients
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_2_2, milvus_local, milvus_on_s3
from tests.servers.s3 import S3Server, rclone


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    """Milvus 2.3.5 on local storage, without compaction and without login."""
    with milvus_local(tmp_path_factory.mktemp("milvus"), STABLE_SEGMENTS) as server:
        yield server


@pytest.fixture(scope="module", name="milvus_2_2")
def milvus_2_2_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    """Milvus 2.2.16 on local storage, without compaction and without login."""
    with milvus_2_2(tmp_path_factory.mktemp("milvus_2_2"), STABLE_SEGMENTS) as server:
        yield server


@pytest.fixture(scope="module")
def milvus_store() -> Iterator[S3Server]:
    """The S3 server on which `milvus_s3` keeps its data, in bucket ``milvus`` below ``files/``."""
    with rclone() as server:
        yield server


@pytest.fixture(scope="module")
def milvus_s3(milvus_store: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    """Milvus 2.3.5 on S3, without compaction and without login."""
    store = S3Target(
        milvus_store.host, milvus_store.port, milvus_store.access_key, milvus_store.secret_key, "milvus"
    )
    with milvus_on_s3(tmp_path_factory.mktemp("milvus_s3"), store, STABLE_SEGMENTS) as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The test's own name, as a name of a database, a collection or a backup."""
    plain = "".join(character if character.isalnum() else "_" for character in request.node.name)
    return plain.removeprefix("test_")[:100]


@pytest.fixture
def fresh(clients: Clients, name: str) -> str:
    """A database of the test's own, on the server that the module asks by its fixture ``clients``."""
    return clients.database(f"db_{name}"[:100])
