"""Backups that share objects: each restores to its own rows, whatever later ones put beside them into the pool."""

from __future__ import annotations

from typing import cast

import pytest

from mbk.engine.operations import verify
from mbk.engine.repository.pool.damage import read_damaged
from mbk.errors import DamagedBackup, DamageFound, PermissionDenied
from mbk.model.events import ObjectCopied
from mbk.model.options import VerifyOptions
from mbk.model.reports import VerifyReport
from mbk.model.states import Depth
from mbk.ports.milvus.values import Feature
from tests.fakes.milvus import V2_3, V2_4, V2_5
from tests.fakes.rows import Row
from tests.fakes.world import World
from tests.raising import raised
from tests.sharing import share, share_after

MON, TUE, WED = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(3))

Rows = dict[str, list[Row]]


def three(world: World) -> dict[str, Rows]:
    """Backups of three days with deletes between them, and a compaction before the last; their rows."""
    rows: dict[str, Rows] = {}
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12))
    world.milvus.insert("docs", range(20, 24), partition="cold")
    world.milvus.delete("docs", [1])
    for name, owner, change in (
        ("mon", MON, lambda: None),
        ("tue", TUE, lambda: world.milvus.delete("docs", [2, 9, 21])),
        ("wed", WED, lambda: world.milvus.compact("docs")),
    ):
        change()
        world.create(name)
        rows[name] = world.milvus.rows_by_partition("docs")
        share_after(world.backup, name, owner, MON, TUE)
    world.milvus.calls.clear()
    return rows


def restored(world: World, name: str) -> Rows:
    world.restore(name, suffix=f"_{name}")
    return world.milvus.rows_by_partition(f"docs_{name}")


@pytest.mark.parametrize("features", [V2_3, V2_4, V2_5], ids=["2.3", "2.4", "2.5"])
@pytest.mark.parametrize("same", [True, False], ids=["same bucket", "other bucket"])
def test_each_of_several_backups_restores_to_its_own_rows(features: frozenset[Feature], same: bool) -> None:
    world = World(features=features, same=same)
    rows = three(world)
    for name in ("mon", "wed", "tue"):
        assert restored(world, name) == rows[name]
    assert not world.staged


def staged(world: World) -> list[str]:
    """Keys that were copied before Milvus imported them."""
    return [
        event.key for event in world.events if isinstance(event, ObjectCopied) and "restore-temp" in event.key
    ]


def test_what_lies_in_its_own_directories_is_imported_where_it_lies() -> None:
    world = World(features=V2_4, same=True)
    rows = three(world)
    world.events.clear()
    assert restored(world, "tue") == rows["tue"]
    assert not staged(world)


def test_a_segment_whose_deletes_lie_in_two_directories_is_staged_with_both() -> None:
    world = World(features=V2_3, same=True)
    rows = three(world)
    world.events.clear()
    assert restored(world, "tue") == rows["tue"]
    deletes = [key for key in staged(world) if "/delta_log/" in key]
    assert len(deletes) > len({key.rpartition("/")[0] for key in deletes}), "two of one segment"


@pytest.mark.parametrize("features", [V2_3, V2_4], ids=["2.3", "2.4"])
def test_what_others_put_beside_its_objects_reaches_no_server(features: frozenset[Feature]) -> None:
    world = World(features=features, same=True)
    rows = three(world)
    beside = [
        (f"{key}7", data)
        for key, data in world.objects("milvus", f"backup/.mbk/pool/{MON}/").items()
        if "/delta_log/" in key
    ]
    assert beside
    for key, _ in beside:
        # As far as Milvus is concerned: a file that it cannot read.
        world.backup.write(key, [b"another backup's"])
    assert restored(world, "mon") == rows["mon"]


def test_a_missing_object_of_the_pool_is_found_before_the_first_change() -> None:
    world = World(features=V2_4)
    three(world)
    lost = next(key for key in world.backed_up if f"/pool/{MON}/" in key and "/insert_log/" in key)
    world.backup.delete([lost])
    for name in ("mon", "tue"):
        with raised(DamagedBackup, "backup-objects-differ", missing=1):
            world.restore(name, suffix="_back")
    world.restore("wed", suffix="_back")


@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize("file", ["objects-", "mbk.json"])
@pytest.mark.parametrize("content", [None, b"{}"])
def test_without_its_record_a_shared_backup_is_refused(
    file: str, content: bytes | None, salvage: bool
) -> None:
    world = World(features=V2_4)
    world.milvus.add("docs")
    world.milvus.insert("docs", range(8))
    world.create()
    share(world.backup, "nightly")
    key = next(key for key in world.backed_up if f"/meta/{file}" in key)
    if content is None:
        world.backup.delete([key])
    else:
        world.backup.write(key, [content])
    with pytest.raises(DamagedBackup) as caught:
        world.restore(suffix="_back", salvage=salvage)
    if file == "objects-" or salvage:
        assert caught.value.code == "shared-record-damaged"
        assert caught.value.facts["key"] == key


# -- damage that concerns several --------------------------------------------------------------------------------------


def verified(world: World, name: str, depth: Depth = Depth.DIGESTS) -> VerifyReport:
    """The report, whatever was found."""
    try:
        return verify.execute(world.context(), name, VerifyOptions(depth=depth))
    except DamageFound as found:
        return cast("VerifyReport", found.report)


def known_damage(world: World) -> dict[str, str]:
    return {key: item.kind for key, item in read_damaged(world.backup, world.run()).items()}


def damage(world: World, key: str) -> bytes:
    """Other bytes of the same size; what there was."""
    before = world.backed_up[key]
    world.backup.write(key, [before[:-1] + bytes([before[-1] ^ 1])])
    return before


def shared_key(world: World) -> str:
    """Of an object that the backups of Monday and of Tuesday have, and the last one has not."""
    return next(key for key in world.backed_up if f"/pool/{MON}/" in key and "/insert_log/" in key)


def test_damage_names_every_backup_that_it_concerns_until_a_later_verification_finds_it_whole() -> None:
    world = World(features=V2_4)
    three(world)
    key = shared_key(world)
    name, before = key.removeprefix("backup/.mbk/pool/"), damage(world, key)
    assert verified(world, "wed").is_whole
    assert known_damage(world) == {}
    report = verified(world, "tue")
    assert report.concerns == ("mon", "tue")
    assert [(item.kind, item.key, item.concerns) for item in report.findings] == [
        ("changed", name, ("mon", "tue"))
    ]
    assert known_damage(world) == {name: "changed"}
    world.backup.write(key, [before])
    for backup, depth, left in (
        ("wed", Depth.CONTENTS, {name: "changed"}),
        ("mon", Depth.DIGESTS, {name: "changed"}),
        ("mon", Depth.CONTENTS, {}),
    ):
        verified(world, backup, depth)
        assert known_damage(world) == left
    assert "backup/.mbk/pool/damaged.json" not in world.backed_up


def test_lost_objects_are_known_to_be_damaged_until_they_are_there_again() -> None:
    world = World(features=V2_4)
    three(world)
    key = shared_key(world)
    before = world.backed_up[key]
    world.backup.delete([key])
    assert {item.concerns for item in verified(world, "mon", Depth.LISTING).findings} == {("mon", "tue")}
    assert list(known_damage(world).values()) == ["missing"]
    world.backup.write(key, [before])
    assert verified(world, "tue", Depth.LISTING).is_whole
    assert known_damage(world) == {}


def test_a_list_of_damage_that_cannot_be_read_is_told_and_written_anew() -> None:
    world = World(features=V2_4)
    three(world)
    damage(world, shared_key(world))
    world.backup.write("backup/.mbk/pool/damaged.json", [b"{"])
    verified(world, "mon")
    assert "damaged-unreadable" in world.notices
    assert list(known_damage(world).values()) == ["changed"]


def test_whoever_may_only_read_verifies_all_the_same() -> None:
    world = World(features=V2_4)
    three(world)
    damage(world, shared_key(world))

    def refuse(operation: str, what: str) -> None:
        if operation in ("write", "delete"):
            raise PermissionDenied("read only", code="test")

    world.backup.fault = refuse
    assert verified(world, "mon").found == 1
    assert "damage-not-stored" in world.notices


def test_a_backup_whose_record_is_lost_leaves_open_what_concerns_it() -> None:
    world = World(features=V2_4)
    three(world)
    damage(world, shared_key(world))
    world.backup.delete([key for key in world.backed_up if "/mon/meta/objects-" in key])
    assert verified(world, "tue").concerns == ("tue",)
    assert "not-known-to-share" in world.notices
    (finding,) = verified(world, "mon").findings
    assert (finding.kind, finding.key.rpartition("-")[0]) == ("metadata", "backup/mon/meta/objects")
