"""``--at-backup-time``: rows and deletes after the line are left out, channel by channel, or nothing is changed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from mbk.engine.repository.timeline import ConsistencyPoint, consistency_point
from mbk.errors import InvalidBackup, UsageError
from mbk.model.records import Backup, Collection
from tests.fakes.milvus import V2_5
from tests.fakes.rows import position
from tests.fakes.world import World
from tests.raising import raised


def tick_message(tick: int) -> str:
    """An encoded ``commonpb.ImmutableMessage`` with nothing but its time tick."""
    digits, left = "", tick
    while left:
        left, digit = divmod(left, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    entry = b"\x0a\x03_tt\x12" + bytes([len(digits)]) + digits.encode()
    return base64.b64encode(b"\x1a" + bytes([len(entry)]) + entry).decode()


def encoded(channel: str, at: int) -> str:
    return base64.b64encode(position(channel, at)).decode()


def test_each_channel_has_its_own_line() -> None:
    record = Collection(
        channel_checkpoints={"ch_0_7v0": encoded("ch_0", 100), "ch_1_7v1": encoded("ch_1", 200)}
    )
    boundary = consistency_point(record, Backup())
    assert (boundary.of("ch_0_7v0"), boundary.of("ch_1_7v1")) == (100, 200)
    assert boundary.of("ch_2_7v2") is None
    assert boundary.of("") is None, "of which channel the segment is, matters here"


def test_one_line_for_all_channels_needs_no_channel() -> None:
    record = Collection(channel_checkpoints={"a_0_7v0": encoded("a_0", 100), "a_1_7v1": encoded("a_1", 100)})
    assert consistency_point(record, Backup()).of("") == 100


def test_a_flush_over_everything_is_a_line_for_its_channels() -> None:
    backup = Backup(flush_all_msgs_base64={"p_0": tick_message(463267588014080003), "p_1": tick_message(99)})
    record = Collection(virtual_channel_names=["p_0_7v0"])
    boundary = consistency_point(record, backup)
    assert boundary.of("p_0_7v0") == 463267588014080003
    assert boundary.is_one, "other collections' channels are none of its business"


def test_a_damaged_line_is_no_line() -> None:
    with pytest.raises(InvalidBackup):
        consistency_point(Collection(channel_checkpoints={"a_0_7v0": "AAAA"}), Backup())


def test_without_any_line_nobody_can_tell() -> None:
    assert ConsistencyPoint({}).of("a_0_7v0") is None


def backed_up_late() -> World:
    """Rows and a delete came after the flush, and are in the backup."""
    world = World(features=V2_5)
    world.milvus.add("docs")
    world.milvus.insert("docs", range(5))
    flush = world.milvus.points.flush

    def late(database: str, collection: str, **_: Any) -> Any:
        point = flush(database, collection)
        world.milvus.insert("docs", [50, 51])
        return point

    world.milvus.points.flush = late
    world.create()
    return world


def rewrite(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    def each(tree: dict[str, Any]) -> None:
        for collection in tree["collection_backups"]:
            change(collection)

    world.edit(each)


def two_channels(collection: dict[str, Any]) -> None:
    collection["channel_checkpoints"]["other_1_7v1"] = encoded("other_1", 5)


def without_channels(collection: dict[str, Any]) -> None:
    two_channels(collection)
    for partition in collection["partition_backups"]:
        for segment in partition["segment_backups"]:
            del segment["v_channel"]


def test_rows_after_the_line_of_their_channel_stay_out() -> None:
    world = backed_up_late()
    rewrite(world, two_channels)
    world.restore(suffix="_cut", truncate=True)
    assert [key for key, _ in world.milvus.visible_rows("docs_cut")] == [0, 1, 2, 3, 4]


def test_what_cannot_be_cut_exactly_is_refused_before_the_first_change() -> None:
    world = backed_up_late()
    rewrite(world, without_channels)
    world.milvus.calls.clear()
    with raised(UsageError, "truncation-impossible", backup="nightly") as caught:
        world.restore(suffix="_cut", truncate=True)
    assert str(caught.value.facts["reason"]).startswith("default.docs: its 2 channels")
    assert "create_collection" not in [call for call, _ in world.milvus.calls]
    world.restore(suffix="_all")
    assert "point-unknown" in world.notices
    assert len(world.milvus.visible_rows("docs_all")) == 7


def test_a_backup_without_lines_cannot_be_cut() -> None:
    world = backed_up_late()
    rewrite(world, lambda collection: collection.pop("channel_checkpoints"))
    with raised(UsageError, "truncation-impossible", backup="nightly") as caught:
        world.restore(suffix="_cut", truncate=True)
    assert str(caught.value.facts["reason"]).startswith("default.docs: the backup does not record")
