"""Killed at any instant: the same command again ends where an undisturbed run ends."""

from __future__ import annotations

import json
import re

import pytest

from mbk.engine.repository.record import Record
from mbk.errors import BackupNotFound, CollectionExists, UsageError
from mbk.model.selection import Selection
from mbk.ports.milvus.values import Feature
from tests.fakes.milvus import V2_3, V2_4, V2_6
from tests.fakes.world import Killed, Life, World

Features = frozenset[Feature]


def filled(features: Features, *, same: bool, workers: int = 2) -> World:
    world = World(features=features, same=same, workers=workers)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", range(3), database="other")
    world.milvus.delete("docs", [1, 9])
    return world


def comparable(world: World) -> dict[str, bytes]:
    """The backup's objects without what is different in every run: ids and times."""

    def plain(data: bytes) -> bytes:
        text = re.sub(rb'"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', b'"id"', data)
        text = re.sub(rb'"objects-[^"]*"', b'"record"', text)
        varying = rb'"(backup_timestamp|point|size)":\d+|"[\w+/]+=*"|"20\d\d-[^"]*"'
        return re.sub(varying, b'"when"', text)

    def one(key: str, data: bytes) -> tuple[str, bytes]:
        if "/objects-" in key:
            with Record.unpacked([data], where=key) as record:
                return "record", "\n".join(
                    sorted(f"{item.key} {item.size}" for item in record.objects())
                ).encode()
        return key, plain(data) if "/meta/" in key else data

    return dict(one(key, data) for key, data in world.backed_up.items())


def committed(world: World) -> bool:
    return any(key.endswith("/full_meta.json") for key in world.backed_up)


def complete(world: World) -> bool:
    """Whether every object that the committed metadata names is there with its size."""
    full = json.loads(next(data for key, data in world.backed_up.items() if key.endswith("full_meta.json")))
    sizes = {key.rsplit("/", 1)[-1]: len(data) for key, data in world.backed_up.items() if "/binlogs/" in key}
    logs = [
        log
        for collection in full["collection_backups"]
        for segments in (
            *(part.get("segment_backups", []) for part in collection["partition_backups"]),
            collection.get("l0_segments", []),
        )
        for segment in segments
        for field in (*segment.get("binlogs", []), *segment["deltalogs"])
        for log in field.get("binlogs", [])
    ]
    return len(logs) > 10 and all(sizes.get(str(log["log_id"])) == log["log_size"] for log in logs)


@pytest.mark.parametrize("features", [V2_3, V2_4, V2_6], ids=["2.3", "2.4", "2.6"])
def test_a_create_killed_at_any_instant_is_resumed_to_the_same_backup(features: Features) -> None:
    undisturbed = filled(features, same=False)
    whole = Life()
    undisturbed.live(whole)
    undisturbed.create()

    for instant in range(1, whole.operations + 1):
        world = filled(features, same=False)
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.create()
        assert not committed(world) or complete(world), f"half a backup is visible at {instant}"
        world.live(Life())
        if committed(world):
            continue
        states = [summary.state for summary in world.catalog().summaries()]
        assert states in ([], ["incomplete"]), f"killed at {instant}"
        world.create(resume=bool(states))
        assert comparable(world).keys() == comparable(undisturbed).keys(), f"killed at {instant}"
        assert comparable(world) == comparable(undisturbed), f"killed at {instant}"
        assert [summary.state for summary in world.catalog().summaries()] == ["complete"]


@pytest.mark.parametrize("features", [V2_3, V2_4], ids=["2.3", "2.4"])
@pytest.mark.parametrize("same", [True, False], ids=["same bucket", "other bucket"])
def test_a_restore_killed_at_any_instant_is_repeated_without_loss_or_doubling(
    features: Features, same: bool
) -> None:
    backed_up = filled(features, same=same, workers=1)
    backed_up.create()
    undisturbed = backed_up.copy()
    whole = Life()
    undisturbed.live(whole)
    undisturbed.restore(suffix="_back")
    before = set(undisturbed.objects("milvus", "files/restore-temp"))
    assert not before

    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.restore(suffix="_back")
        world.live(Life())
        if not {"default.docs_back", "other.logs_back"} <= world.milvus.names or world.objects(
            "milvus", "files/restore-temp"
        ):
            finish(world)
        for name, database in (("docs", "default"), ("logs", "other")):
            restored = world.milvus.rows_by_partition(f"{name}_back", database=database)
            assert restored == world.milvus.rows_by_partition(name, database=database), f"killed at {instant}"
        assert not world.objects("milvus", "files/restore-temp"), f"killed at {instant}"


@pytest.mark.parametrize("same", [True, False], ids=["same bucket", "other bucket"])
def test_rows_added_to_a_collection_by_a_killed_restore_are_never_doubled_unnoticed(same: bool) -> None:
    backed_up = filled(V2_3, same=same, workers=1)
    backed_up.create()
    for name, database in (("docs", "default"), ("logs", "other")):
        backed_up.milvus.add(f"{name}_back", database=database)
    undisturbed = backed_up.copy()
    whole = Life()
    undisturbed.live(whole)
    undisturbed.restore(suffix="_back", skip_create=True)
    told = 0
    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.restore(suffix="_back", skip_create=True)
        world.live(Life())
        for name, database in (("docs", "default"), ("logs", "other")):
            back = f"{name}_back"
            wanted = world.milvus.visible_rows(name, database=database)
            if world.milvus.visible_rows(back, database=database) != wanted:
                try:
                    world.restore(
                        suffix="_back", skip_create=True, selection=Selection.parse(f"{database}.{back}")
                    )
                except UsageError as error:
                    told += error.code == "import-start-unknown"
                    continue
            assert world.milvus.visible_rows(back, database=database) == wanted, f"killed at {instant}"
    # Between starting a job and noting its number nobody can know: at most the call and the note, and what is asked of the
    # lease before each, for three jobs.
    assert told <= 12


def finish(world: World) -> None:
    """Collections that are done are no longer asked for: their names exist, as the user is told."""
    try:
        world.restore(suffix="_back")
    except CollectionExists as error:
        for name in ("default.docs_back", "other.logs_back"):
            if name not in str(error.facts["collections"]):
                world.restore(suffix="_back", selection=Selection.parse(name))


def test_a_delete_killed_at_any_instant_leaves_no_committed_ruin_and_can_be_repeated() -> None:
    backed_up = filled(V2_3, same=True)
    backed_up.create()
    world, whole = backed_up.copy(), Life()
    world.live(whole)
    world.delete("nightly")
    assert not world.backed_up

    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.delete("nightly")
        world.live(Life())
        assert not committed(world) or complete(world), f"killed at {instant}"
        if any(key.startswith("backup/nightly/") for key in world.backed_up):
            world.delete("nightly")
        else:
            with pytest.raises(BackupNotFound):
                world.delete("nightly")
        assert not world.backed_up
        assert world.milvus.visible_rows("docs"), "Milvus' own data is not the backup's"
