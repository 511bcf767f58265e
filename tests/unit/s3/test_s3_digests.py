"""What a backup records of objects on a real S3 server: digests of the bytes, by the server's own etags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.ports.storage import Storage
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage
from tests.servers.s3 import rclone

DATA = {"x/empty": b"", "x/small": b"small", "x/larger": bytes(range(256)) * 5000}


@pytest.fixture(scope="module")
def buckets() -> Iterator[tuple[Storage, Storage]]:
    with rclone() as server:
        source, destination = (
            open_storage(GenericSettings(**server.settings(server.make_bucket(name))))
            for name in ("source", "target")
        )
        for key, data in DATA.items():
            source.write(key, [data], size=len(data))
        yield source, destination
        source.close()
        destination.close()


@pytest.mark.parametrize("mode", ["auto", "streaming"])
def test_copies_are_proven_and_recorded_by_the_etags_of_the_server(
    buckets: tuple[Storage, Storage], mode: str
) -> None:
    source, destination = buckets
    run = Run()
    with Transfer(
        source=source, destination=destination, run=run, limits=TransferLimits(mode=mode), records=True
    ) as transfer:
        arrived = transfer.arrive(
            [CopyItem.of(entry, f"{mode}/{entry.key}") for entry in source.list("x/")],
            collection="",
            present={},
            listed=lambda: listing.by_key(destination, run, f"{mode}/"),
        )
        transfer.tell_unproven()
    assert run.notices == []
    assert all(item.known.proven for item in arrived)
    recorded = {item.item.source_key: item.known.digests for item in arrived if item.item.size}
    assert recorded == {key: {"md5": hashlib.md5(data).hexdigest()} for key, data in DATA.items() if data}
