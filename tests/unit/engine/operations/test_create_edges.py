"""What a backup does at its edges: the first look at the storage, the last files, the pause around it."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.errors import (
    MilvusError,
    Throttled,
    WrongStorage,
)
from mbk.model.states import BackupState
from mbk.ports.milvus.values import Feature
from mbk.ports.storage import MIB
from tests.fakes.milvus import V2_3
from tests.fakes.world import World
from tests.raising import raised


@pytest.fixture
def world() -> World:
    world = World()
    for name in ("docs", "logs", "users"):
        world.milvus.add(name)
        world.milvus.insert(name, range(6))
    return world


@pytest.mark.parametrize("root", ["wrong/", ""])
def test_another_root_path_than_milvus_own_is_told_apart_from_an_empty_one(world: World, root: str) -> None:
    from mbk.testing import MemoryStorage

    world.storage = MemoryStorage(world.service, "milvus", root=root)
    with raised(WrongStorage, "milvus-data-missing", location=str(world.storage.location)):
        world.create()


def test_the_bucket_of_another_milvus_is_not_taken_for_this_ones(world: World) -> None:
    """Else every collection would fail by itself, each after some patience."""
    from mbk.testing import MemoryStorage

    other = MemoryStorage(world.service, "milvus", root="other/")
    other.write("other/insert_log/1/2/3/0/4", [b"x"], size=1)
    world.storage = other
    with raised(WrongStorage, "milvus-data-foreign", location=str(other.location)):
        world.create()
    assert world.notices == []


def test_a_pause_that_cannot_be_had_is_told_once_and_stops_nothing(world: World) -> None:
    def fault(call: str, _what: str) -> None:
        if call == "pause_gc":
            raise MilvusError("404")

    world.milvus.fault = fault
    report = world.create()
    assert world.notices == ["gc-pause-failed"]
    assert len(report.notices) == 1


def test_a_server_that_does_not_flush_deletes_is_warned_of_once(world: World) -> None:
    world.milvus.features = V2_3 - {Feature.FLUSHES_DELETES}
    world.create()
    assert world.notices == ["deletes-not-flushed"]


def test_metadata_is_written_again_after_an_error_that_can_pass(world: World) -> None:
    left = [3]

    def fault(operation: str, key: str) -> None:
        if operation == "write" and key.endswith("full_meta.json") and left[0]:
            left[0] -= 1
            raise Throttled("slow down")

    world.backup.fault = fault
    world.create()
    assert world.held() == ["docs", "logs", "users"]


def test_large_metadata_is_streamed_and_written_again_as_well(world: World) -> None:
    chunks = [bytes([number]) * MIB for number in range(10)]
    sizes: list[int | None] = []
    write, left = world.backup.write, [1]

    def breaking(key: str, chunks: Any, *, size: int | None = None, **_: Any) -> Any:
        sizes.append(size)
        if left[0]:
            left[0] = 0
            next(iter(chunks))
            raise Throttled("slow down")
        return write(key, chunks, size=size)

    world.backup.write = breaking
    world.catalog().write("backup/nightly/meta/full_meta.json", lambda: chunks)
    assert sizes == [None, None]
    with world.backup.read("backup/nightly/meta/full_meta.json") as written:
        assert b"".join(written) == b"".join(chunks)


def test_uploads_that_a_killed_run_left_are_cleaned_by_resume_and_by_delete(world: World) -> None:
    for use in (world.create, lambda: world.delete("nightly")):
        world.backup.multipart("backup/nightly/binlogs/insert_log/1/2/3/3/0/4").put_part(1, b"x")
        world.backup.multipart("backup/other/binlogs/insert_log/1/2/3/3/0/4").put_part(1, b"x")
        assert len(list(world.uploads())) >= 2
        use()
        assert {key.split("/")[1] for key in world.uploads()} == {"other"}


def test_a_backup_that_lost_its_last_collection_is_not_committed(world: World) -> None:
    """One fails, the other is dropped after it was described: nothing is left to commit."""
    world.workers = 1
    world.milvus.add("broken")

    def fault(call: str, what: str) -> None:
        if call == "flush" and what == "broken":
            raise MilvusError("cannot be flushed", code="not-this-one")
        if call == "flush":
            world.milvus.fault = lambda *_: None
            world.milvus.definitions.drop_collection("default", "docs")

    world.milvus.fault = fault
    with raised(MilvusError, "not-this-one"):
        world.create(only="docs,broken")
    assert [item.state for item in world.catalog().summaries()] == [BackupState.INCOMPLETE]
