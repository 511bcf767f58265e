"""A Milvus with one collection, storages of all kinds, and a good backup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.bad_input.place import GOOD, Make, Place
from tests.e2e.data import Clients, Coll
from tests.e2e.site import Tree, local_storage
from tests.servers.s3 import S3Server, ministack
from tests.shell import shell


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def docs(clients: Clients) -> Coll:
    coll = data.plain(clients, clients.database("bad"), "docs", rows=0)
    for start in (0, 100):
        coll.insert(data.plain_rows(range(start, start + 100)))
        coll.flush()
    return coll


@pytest.fixture(scope="module")
def keeper() -> Iterator[S3Server]:
    """An account with the bucket ``backups``; ``empty`` is another one of its buckets."""
    with ministack() as server:
        server.make_bucket("backups")
        server.make_bucket("empty")
        yield server.user("keeper", "backups", "empty", "nowhere")


@pytest.fixture
def make(milvus: EmbeddedMilvus, docs: Coll, tmp_path: Path) -> Make:
    """A place with its storage, its backup storage or more settings changed."""

    def made(storage: Tree | None = None, backup: Tree | None = None, **more: Any) -> Place:
        server = {
            "grpc": {"address": milvus.address, "port": milvus.port},
            "management": {"endpoint": milvus.management_url},
        }
        root = milvus.storage_root
        (tmp_path / "backups").mkdir(exist_ok=True)
        user = shell(
            tmp_path / "backup.yaml",
            milvus=server,
            storage=storage or local_storage(root),
            backup=backup or local_storage(tmp_path / "backups"),
            **more,
        )
        return Place(user, docs, root)

    return made


@pytest.fixture
def place(make: Make) -> Place:
    return make()


@pytest.fixture(scope="module")
def good(milvus: EmbeddedMilvus, docs: Coll, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the backup ``good``."""
    home = tmp_path_factory.mktemp("good")
    backups = home / "backups"
    server = {"grpc": {"address": milvus.address, "port": milvus.port}}
    user = shell(
        home / "backup.yaml",
        milvus=server,
        storage=local_storage(milvus.storage_root),
        backup=local_storage(backups),
    )
    user.run("create", "-n", GOOD, "--filter", str(docs))
    return backups
