"""A Milvus on S3 behind a proxy, and what is backed up there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, Coll
from tests.e2e.interrupted.held import BACKUPS, BUCKET, EVER, Held
from tests.e2e.site import ROOT, make_site, s3_storage
from tests.servers.faults import Fault, fault_proxy
from tests.servers.s3 import S3Server


@pytest.fixture(scope="module")
def clients(milvus_s3: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus_s3) as found:
        yield found


@pytest.fixture
def held(milvus_s3: EmbeddedMilvus, milvus_store: S3Server, tmp_path: Path) -> Iterator[Held]:
    paused = Fault("answer", target="garbage_collection", times=EVER, status=200, body=b'{"ticket": "t-1"}')
    with fault_proxy(milvus_store.port) as proxy, fault_proxy(1, paused) as management:
        store = milvus_store.behind(proxy.port)
        site = make_site(
            tmp_path / "backup.yaml",
            milvus_s3,
            s3_storage(store, BUCKET, ROOT),
            s3_storage(store, BUCKET, BACKUPS),
            milvus={"management": {"endpoint": f"http://127.0.0.1:{management.port}"}},
            backup={"concurrency": {"collections": 1}},
        )
        yield Held(site, proxy, management, milvus_store)


@pytest.fixture(scope="module")
def coll(clients: Clients) -> Coll:
    """Two partitions of several segments each."""
    coll = data.rich(clients, clients.database("interrupted"), "coll", partitions=["p1"])
    coll.load()
    for first in (0, 200, 400, 600):
        coll.insert(data.rich_rows(range(first, first + 100)))
        coll.insert(data.rich_rows(range(first + 100, first + 200)), partition="p1")
        coll.flush()
    coll.delete(range(50, 70))
    return coll


@pytest.fixture(scope="module")
def small(clients: Clients) -> Coll:
    """Two partitions of one segment each, which are imported from where they lie."""
    coll = data.plain(clients, clients.database("interrupted"), "small")
    coll.client.create_partition(coll.name, "p1")
    coll.insert(data.plain_rows(range(1000, 1100)), partition="p1")
    coll.flush()
    return coll
