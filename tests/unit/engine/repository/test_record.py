"""Every object of a backup is recorded, and no metadata file can be lost or changed unnoticed."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.record import Record, objects_in, stretches
from mbk.engine.runtime.run import Run
from mbk.errors import DamagedBackup, PartialFailure, PermissionDenied, VerificationFailed
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import Level
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.digests import Digesting
from tests.fakes.milvus import V2_4
from tests.fakes.world import Killed, Life, World
from tests.raising import raised

META = "backup/nightly/meta/"


def filled() -> World:
    world = World(features=V2_4)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.delete("docs", [3])
    world.milvus.add("logs")
    world.milvus.insert("logs", range(3))
    return world


def files(world: World) -> list[str]:
    return [key for key in world.backed_up if key.startswith(META)]


def record_of(world: World) -> dict[str, ObjectRecord]:
    catalog = world.catalog()
    record = catalog.open_record(catalog.committed("nightly"))
    assert record is not None
    with record:
        return {entry.key: entry for entry in record.objects()}


def test_every_object_is_recorded_with_its_size() -> None:
    world = filled()
    world.create()
    stored = {
        key.removeprefix("backup/nightly/"): len(data)
        for key, data in world.backed_up.items()
        if "/binlogs/" in key
    }
    assert {key: entry.size for key, entry in record_of(world).items()} == stored


def test_the_record_holds_one_collection_at_a_time() -> None:
    world = filled()
    world.create()
    catalog = world.catalog()
    committed = catalog.committed("nightly")
    record = catalog.open_record(committed)
    assert record is not None
    with record:
        for collection in committed.backup.collection_backups:
            own = record.of(collection.collection_id)
            assert own
            assert all(f"/{collection.collection_id}/" in key for key in own)
        assert record.of(12345) == {}
        assert record.count == len([*record.objects()])


def record_with(*lines: str) -> Record:
    heads = ['{"version":1,"location":""}', f'{{"collection":7,"objects":{len(lines)}}}']
    return Record.unpacked([gzip.compress("\n".join([*heads, *lines, ""]).encode())], where="record")


def test_recorded_objects_are_found_by_their_keys() -> None:
    with record_with(*[f'["a/{number}",{number}]' for number in range(500)]) as record:
        objects = record.of(7)
        assert [*objects] == [f"a/{number}" for number in range(500)]
        assert all(objects[f"a/{number}"].size == number for number in range(500))
        assert objects.get("a/500") is None
        assert "b" not in objects
        assert sum(entry.size for entry in objects.values()) == sum(range(500))
        assert len(dict(objects.items())) == len(objects) == 500


def test_of_objects_with_one_key_the_last_one_counts() -> None:
    with record_with('["a",1]', '["b",2]', '["a",3]', '["a",4]') as record:
        objects = record.of(7)
        assert {key: entry.size for key, entry in objects.items()} == {"b": 2, "a": 4}
        assert objects["a"].size == 4
        assert len(objects) == 2
        checklist = objects.checklist()
        assert checklist.meet("a") == ObjectRecord("a", 4)
        assert checklist.meet("c") is None
        assert [*checklist.left()] == ["b"]


def test_a_line_that_is_no_object_is_damage() -> None:
    with record_with('["a",1]', '["b"]') as record, pytest.raises(DamagedBackup):
        record.of(7)


@pytest.mark.parametrize("damage", ["lost", "flipped", "shortened", "emptied"])
def test_damage_of_any_metadata_file_is_noticed(damage: str) -> None:
    whole = filled()
    whole.create()
    for key in files(whole):
        data = whole.backed_up[key]
        if damage == "lost":
            if key.endswith("full_meta.json"):
                continue  # that is a backup which was never committed
            whole.backup.delete([key])
        else:
            whole.backup.write(key, [damaged(data, damage)])
        with pytest.raises(DamagedBackup):
            whole.catalog().read("nightly")
        whole.backup.write(key, [data])
    assert whole.catalog().read("nightly").name == "nightly"


def damaged(data: bytes, how: str) -> bytes:
    if how == "shortened":
        return data[:-7]
    if how == "emptied":
        return b""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_every_flipped_bit_of_the_manifest_is_noticed() -> None:
    world = filled()
    world.create()
    key = f"{META}mbk.json"
    data = world.backed_up[key]
    for at in range(len(data)):
        world.backup.write(key, [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]])
        with pytest.raises(DamagedBackup):
            world.catalog().read("nightly")


def test_a_listing_shows_a_lost_or_resized_metadata_file() -> None:
    world = filled()
    world.create()
    for key in files(world):
        data = world.backed_up[key]
        for change in (
            lambda key=key: world.backup.delete([key]),
            lambda key=key: world.backup.write(key, [b"{}"]),
        ):
            change()
            (summary,) = world.catalog().summaries()
            lost = key.endswith("full_meta.json") and key not in world.backed_up
            assert summary.state == ("incomplete" if lost else "unreadable"), key
            world.backup.write(key, [data])


class Etags(Digesting):
    """Its listings tell digests as etags, and no checksums."""

    def list_level(self, prefix: str = "") -> Level:
        level = super().list_level(prefix)
        return replace(level, objects=tuple(map(self._digested, level.objects)))


class Encrypted(Etags):
    salt = b"key"


@pytest.mark.parametrize(
    ("kind", "state"), [(MemoryStorage, "unreadable"), (Etags, "unreadable"), (Encrypted, "complete")]
)
def test_a_listing_shows_an_altered_metadata_file_where_the_service_tells_digests(
    kind: type[MemoryStorage], state: str
) -> None:
    world = filled()
    world.create()
    storage = kind(MemoryService("there"), "there", root="backup/")
    for key in files(world):
        storage.write(key, [world.backed_up[key]])
    catalog = Catalog(storage, Run())
    assert [item.state for item in catalog.summaries()] == ["complete"]
    altered = f"{META}segment_meta.json"
    storage.write(altered, [damaged(world.backed_up[altered], "flipped")])
    assert [item.state for item in catalog.summaries()] == [state]


def test_a_manifest_of_an_earlier_run_is_not_taken_for_the_one_that_belongs() -> None:
    world = filled()
    world.create()
    old = world.backed_up[f"{META}mbk.json"]
    for key in [*world.backed_up]:
        world.backup.delete([key])
    world.create()
    world.backup.write(f"{META}mbk.json", [old])
    with pytest.raises(DamagedBackup):
        world.catalog().read("nightly")


def partial() -> World:
    """A backup without ``logs``, whose objects could not be copied."""
    world = filled()
    number = world.milvus.inventory.describe("default", "logs").id

    def fault(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{number}/" in key:
            raise PermissionDenied("not this one", code="not-this-one")

    world.backup.fault = fault
    with pytest.raises(PartialFailure):
        world.create()
    world.backup.fault = None
    return world


def completed(world: World, life: Life) -> None:
    """The run that adds ``logs``, and dies with ``life``."""
    world.live(life)
    with suppress(Killed):
        world.create(resume=True)
    world.live(Life())


def test_what_is_true_of_a_partial_backup_stays_true_until_the_completing_run_has_committed() -> None:
    begin, whole = partial(), Life()
    completed(begin.copy(), whole)
    states = set()
    for instant in range(1, whole.operations + 1):
        world = begin.copy()
        completed(world, Life(ends_at=instant))
        found = world.catalog().committed("nightly")
        names = {item.collection_name for item in found.backup.collection_backups}
        assert [*found.manifest.failed] == ([] if "logs" in names else ["default.logs"]), instant
        assert {*map(int, found.manifest.rows)} <= {
            item.collection_id for item in found.backup.collection_backups
        }
        record = world.catalog().open_record(found)
        assert record is not None
        with record:
            assert {*record.collections} == {item.collection_id for item in found.backup.collection_backups}
        (summary,) = world.catalog().summaries()
        states.add(str(summary.state))
        assert summary.state == ("complete" if "logs" in names else "partial"), instant
    assert "partial" in states


@pytest.mark.parametrize("file", ["mbk.json", "backup_meta.json", "full_meta.json", "objects-"])
@pytest.mark.parametrize("lie", ["dropped", "halved"])
def test_a_storage_that_loses_a_metadata_write_is_noticed_before_success(
    lie: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = filled()
    write = world.backup.write

    def lying(key: str, chunks: Iterable[bytes], **more: Any) -> Any:
        data = b"".join(chunks)
        if file not in key:
            return write(key, [data], size=len(data))
        if lie == "halved":
            write(key, [data[: len(data) // 2]])
        return None

    monkeypatch.setattr(world.backup, "write", lying)
    monkeypatch.setattr(world.backup, "write_if_absent", lying)
    with raised(VerificationFailed, "write-not-stored"):
        world.create()


def test_etags_are_compared_where_the_record_was_made_and_nowhere_else() -> None:
    world = filled()
    world.create()
    catalog = world.catalog()
    record = catalog.open_record(catalog.committed("nightly"))
    assert record is not None
    here = world.backup.location
    with record:
        assert record.is_here(here, "nightly")
        assert not record.is_here(here, "other")
        assert not record.is_here(replace(here, root="elsewhere/"), "nightly")
        assert not record.is_here(replace(here, mount="/mnt/backups/"), "nightly")


def test_a_damaged_level_file_does_not_take_the_record_from_a_salvage() -> None:
    world = filled()
    world.create()
    world.backup.write(f"{META}segment_meta.json", [b"{}"])
    catalog = world.catalog()
    committed = catalog.committed("nightly", salvage=True)
    record = catalog.open_record(committed)
    assert record is not None
    with record:
        assert record.count == len([key for key in world.backed_up if "/binlogs/" in key])


def test_salvage_reads_a_backup_whose_manifest_is_lost() -> None:
    world = filled()
    world.create()
    world.backup.delete([f"{META}mbk.json"])
    committed = world.catalog().committed("nightly", salvage=True)
    assert committed.backup.name == "nightly"
    assert not committed.manifest.files
    assert world.catalog().open_record(committed) is None


LOGS = "p/binlogs/insert_log/1/2"
FIRST, SECOND, ODD = (
    f'["{LOGS}/3/3/100/1",8]\n["{LOGS}/3/3/101/2",8]\n',
    f'["{LOGS}/4/4/100/3",8]\n',
    '["p/\\"quoted\\"",5]\n',
)


def cut(*lines: str, told: int) -> list[bytes]:
    text = f'{{"version":1}}\n{{"collection":1,"objects":{told}}}\n{"".join(lines)}'
    return [*stretches([gzip.compress(text.encode())], where="here")]


def test_what_two_records_name_of_a_segment_is_the_same_piece_in_both() -> None:
    one, other = cut(FIRST, SECOND, ODD, told=4), cut(ODD, SECOND, FIRST, told=4)
    assert one == [FIRST.encode(), SECOND.encode(), ODD.encode()]
    assert {*one} == {*other}
    found = [key for piece in one for key, _ in objects_in(piece, where="here")]
    assert found == [f"{LOGS}/{rest}".encode() for rest in ("3/3/100/1", "3/3/101/2", "4/4/100/3")] + [
        rb"p/\"quoted\""
    ]


def test_a_record_that_has_lost_lines_is_damaged() -> None:
    with raised(DamagedBackup, "record-damaged", reason="2 objects instead of 3"):
        cut(FIRST, told=3)
    with raised(DamagedBackup, "record-damaged", reason="1 lines are none of an object"):
        objects_in(f'{FIRST}["{LOGS}/3/3/102/4","big"]\n'.encode(), where="here")
