"""Storages that a plugin wrapped by the documented hook are copied between as they are without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import SERVER, CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import Storage
from mbk.testing import MemoryService, MemoryStorage
from mbk_local.storage import LocalStorage


def directories(path: Path) -> tuple[Storage, Storage]:
    places = path / "milvus", path / "backups"
    for place in places:
        place.mkdir()
    return LocalStorage(places[0]), LocalStorage(places[1])


def buckets(_: Path) -> tuple[Storage, Storage]:
    service = MemoryService("milvus", "backups")
    return MemoryStorage(service, "milvus"), MemoryStorage(service, "backups")


@pytest.mark.parametrize("made", [directories, buckets])
@pytest.mark.parametrize("times", [(1, 0), (0, 1), (1, 1), (2, 2)])
def test_they_copy_server_side(
    made: Callable[[Path], tuple[Storage, Storage]], times: tuple[int, int], tmp_path: Path
) -> None:
    source, destination = made(tmp_path)
    source.write("from", [b"data"], size=4)
    for _ in range(times[0]):
        source = StorageWrapper(source)
    for _ in range(times[1]):
        destination = StorageWrapper(destination)
    run = Run()
    pair = {"source": retried(source, run), "destination": retried(destination, run)}
    with Transfer(**pair, run=run, limits=TransferLimits()) as transfer:
        transfer.copy([CopyItem(source_key="from", key="to", size=4)], collection="", present={})
        assert transfer.stats.objects == {SERVER: 1}
        assert transfer.stats.streamed_because is None
    with destination.read("to") as chunks:
        assert b"".join(chunks) == b"data"
