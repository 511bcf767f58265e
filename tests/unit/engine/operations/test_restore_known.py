"""A restore hands over nothing that the backup does not know: missing, changed, strange and damaged objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mbk.errors import DamagedBackup, MilvusUnavailable, PartialFailure, RowsWrong
from mbk.model.reports import RunReport
from mbk.model.selection import Selection
from mbk.model.states import CollectionState
from mbk.ports.storage import ObjectInfo
from mbk.testing import MemoryStorage
from mbk.testing.memory import EVERYTHING, StoredObject
from tests.fakes.milvus import V2_3, V2_4, V2_6
from tests.fakes.world import World
from tests.milvus_double.state import Delete
from tests.raising import raised
from tests.sharing import share
from tests.unit.engine.forged import P1, Backup

T = 460_000_000_000_000_000


class Silent(MemoryStorage):
    """Tells nothing of contents, as a directory."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for info in super().list(prefix, start_after=start_after):
            yield replace(info, etag=None, checksums={})


def world_of(*, same: bool, silent: bool = False, shared: bool = False) -> World:
    world = World(features=V2_3 if same else V2_4, same=same)
    world.milvus.add("docs")
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12))
    world.milvus.delete("docs", [2, 9])
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", range(3), database="other")
    world.create()
    if shared:
        share(world.backup, "nightly")
    world.milvus.calls.clear()
    if silent:
        world.backup = Silent(
            world.service,
            world.backup.location.bucket,
            root="backup/",
            capabilities=replace(EVERYTHING, checksums=frozenset()),
        )
    return world


WAYS = ["in place", "staged", "in place, shared", "staged, shared"]


@pytest.fixture(params=WAYS)
def world(request: pytest.FixtureRequest) -> World:
    return world_of(same="in place" in request.param, shared="shared" in request.param)


@pytest.fixture(params=WAYS[:2])
def classic(request: pytest.FixtureRequest) -> World:
    return world_of(same="in place" in request.param)


@pytest.fixture(params=WAYS)
def silent(request: pytest.FixtureRequest) -> World:
    """The backup's storage vouches for nothing."""
    return world_of(same="in place" in request.param, shared="shared" in request.param, silent=True)


def is_shared(world: World) -> bool:
    return world.catalog().committed("nightly", salvage=True).is_shared


def keys_of(world: World, kind: str, name: str = "docs") -> list[str]:
    number = next(
        item.collection_id
        for item in world.catalog().read("nightly").collection_backups
        if item.collection_name == name
    )
    return [key for key in world.backed_up if f"/binlogs/{kind}/{number}/" in key]


def rot(world: World, key: str) -> None:
    """One bit of an object flips, and the storage does not notice."""
    bucket = world.backup.bucket
    found = bucket.objects[key]
    data = bytearray(found.data)
    data[len(data) // 2] ^= 1
    bucket.objects[key] = StoredObject(bytes(data), found.info, found.options)


def relative(key: str) -> str:
    """What a message calls it."""
    return key.partition("/.mbk/pool/" if "/pool/" in key else "/nightly/")[2]


def nothing_was_made(world: World) -> bool:
    return (
        not world.milvus.import_requests
        and not world.staged
        and world.milvus.names
        == {
            "default.docs",
            "other.logs",
        }
    )


def chosen(names: str) -> Selection:
    return Selection.parse(names)


def partial(world: World, code: str, **options: Any) -> RunReport:
    with raised(PartialFailure, code) as caught:
        world.restore(suffix="_back", **options)
    report = caught.value
    assert isinstance(report, PartialFailure)
    assert isinstance(report.report, RunReport)
    return report.report


# -- what is there, and what is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
def test_a_missing_object_is_named_before_the_first_change(kind: str, world: World) -> None:
    key = keys_of(world, kind)[0]
    world.backup.delete([key])
    with raised(DamagedBackup, "backup-objects-differ", missing=1, changed=0) as caught:
        world.restore(suffix="_back")
    assert relative(key) in str(caught.value)
    assert caught.value.exit_code == 8
    assert nothing_was_made(world)


def test_of_many_missing_objects_a_few_are_named_and_all_are_counted(world: World) -> None:
    gone = keys_of(world, "insert_log")
    world.backup.delete(gone)
    with raised(DamagedBackup, "backup-objects-differ", missing=len(gone)) as caught:
        world.restore(suffix="_back")
    assert sum(relative(key) in str(caught.value) for key in gone) == 3


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda _: b"", lambda data: data.swapcase()])
def test_a_rewritten_object_is_named_before_the_first_change(
    change: Callable[[bytes], bytes], world: World
) -> None:
    key = next(key for key in keys_of(world, "insert_log") if b"text" in world.backed_up[key])
    world.backup.write(key, [change(world.backed_up[key])])
    with raised(DamagedBackup, "backup-objects-differ", missing=0, changed=1) as caught:
        world.restore(suffix="_back")
    assert relative(key) in str(caught.value)
    assert nothing_was_made(world)


def test_two_objects_that_were_exchanged_are_named(world: World) -> None:
    logs = [key for key in keys_of(world, "insert_log") if "/100/" in key]
    one, two = logs[0], logs[-1]
    first, second = world.backed_up[one], world.backed_up[two]
    world.backup.write(one, [second])
    world.backup.write(two, [first])
    with raised(DamagedBackup, "backup-objects-differ", changed=2):
        world.restore(suffix="_back")
    assert nothing_was_made(world)


def test_differences_of_what_is_not_restored_do_not_matter(world: World) -> None:
    world.backup.delete(keys_of(world, "insert_log"))
    world.restore(suffix="_back", selection=chosen("other.logs_back"))
    assert len(world.milvus.visible_rows("logs_back", database="other")) == 3


@pytest.mark.parametrize(
    "where", ["beside it", "in its field", "in its deltas", "in a segment of its own", "a file"]
)
def test_what_the_backup_does_not_know_is_never_handed_to_milvus(where: str, world: World) -> None:
    inserts, deltas = keys_of(world, "insert_log"), keys_of(world, "delta_log")
    directory = inserts[0].rpartition("/")[0]
    segment = directory.rpartition("/")[0]
    stranger = {
        "beside it": f"{segment}/777/99",
        "in its field": f"{directory}/999999",
        "in its deltas": f"{deltas[0].rpartition('/')[0]}/999999",
        "in a segment of its own": f"{segment.rpartition('/')[0]}/999/100/5",
        "a file": f"{directory}/notes.txt",
    }[where]
    world.backup.write(stranger, [b"[[3, 9999999999999999999]]" if "delta" in stranger else b"[1, 2]"])
    report = world.restore(suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    above = {
        stranger[: stranger.index("/", at) + 1]
        for at in range(len(segment), len(stranger))
        if "/" in stranger[at:]
    }
    given = {path for request in world.milvus.import_requests for file in request.files for path in file}
    assert above.isdisjoint(given), "Milvus reads a directory whole"
    if is_shared(world):
        assert "extra-objects" not in world.notices, "it may be another backup's"
    else:
        assert world.notices.count("extra-objects") == 1
        assert any(relative(stranger) in notice for notice in report.notices)


def test_logs_that_are_there_twice_are_imported_once(world: World) -> None:
    """Every file of a segment a second time, under other numbers."""
    for key in keys_of(world, "insert_log"):
        directory, _, log = key.rpartition("/")
        world.backup.write(f"{directory}/{int(log) + 500_000}", [world.backed_up[key]])
    world.restore(suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_verify_none_compares_nothing_and_still_uses_only_what_is_recorded(world: World) -> None:
    key = next(key for key in keys_of(world, "insert_log") if b"text 0" in world.backed_up[key])
    world.backup.write(key, [world.backed_up[key].replace(b"text 0", b"text X")])
    world.backup.write(f"{key.rpartition('/')[0]}/999999", [b"[1]"])
    world.restore(suffix="_back", verify="none")
    assert (0, "text X") in world.milvus.visible_rows("docs_back")
    assert len(world.milvus.visible_rows("docs_back")) == 10
    assert "nothing-compared" in world.notices


# -- contents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
def test_a_damaged_object_fails_its_collection_and_never_reaches_milvus(kind: str, silent: World) -> None:
    key = keys_of(silent, kind)[-1]
    rot(silent, key)
    report = partial(silent, "collections-not-restored")
    docs, logs = report.collections
    assert (docs.outcome, logs.outcome) == (CollectionState.FAILED, CollectionState.DONE)
    assert key in (docs.error or "")
    assert "--salvage" in (docs.error or "")
    assert "default.docs_back" not in silent.milvus.names
    segment = key.split("/")[-3 if kind == "insert_log" else -2]
    given = [path for request in silent.milvus.import_requests for file in request.files for path in file]
    assert not any(f"/{segment}/" in path for path in given)
    assert not silent.staged


def test_what_is_damaged_is_not_to_be_restored_again(silent: World) -> None:
    rot(silent, keys_of(silent, "insert_log")[-1])
    with raised(PartialFailure, "collections-not-restored") as caught:
        silent.restore(suffix="_back")
    assert "run again" not in (caught.value.hint or "")


def test_where_every_collection_is_damaged_the_exit_code_is_8(silent: World) -> None:
    for name in ("docs", "logs"):
        rot(silent, keys_of(silent, "insert_log", name)[0])
    with raised(DamagedBackup, "object-damaged") as caught:
        silent.restore(suffix="_back")
    assert caught.value.exit_code == 8


def test_an_existing_target_is_untouched_by_a_damaged_backup(silent: World) -> None:
    rot(silent, keys_of(silent, "insert_log")[-1])
    before = silent.milvus.visible_rows("docs")
    for options in ({"skip_create": True}, {"drop_existing": True}):
        with raised(DamagedBackup, "object-damaged"):
            silent.restore(selection=chosen("default.docs"), **options)
        assert silent.milvus.visible_rows("docs") == before


def read_below(world: World, **options: Any) -> list[str]:
    """The objects of the backup that a restore reads itself."""
    read: list[str] = []

    def watch(operation: str, key: str) -> None:
        if operation == "read" and "/binlogs/" in key:
            read.append(key)

    world.backup.fault = watch
    world.restore(suffix="_back", transfer=None, **options) if False else world.restore(
        suffix="_back", **options
    )
    return read


def test_what_the_storage_vouches_for_is_not_read(world: World) -> None:
    assert not read_below(world, selection=chosen("other.logs_back"))


@pytest.mark.parametrize("verify", ["none", "listing"])
def test_listing_reads_nothing(verify: str, silent: World) -> None:
    assert not read_below(silent, verify=verify)


def test_contents_reads_everything(world: World) -> None:
    read = read_below(world, verify="contents")
    expected = {
        key
        for name in ("docs", "logs")
        for kind in ("insert_log", "delta_log")
        for key in keys_of(world, kind, name)
    }
    assert set(read) == expected


# -- salvage -----------------------------------------------------------------------------------------------------------


def segment_of(key: str) -> str:
    return key.split("/")[-3]


def rows_in(world: World, segment: str) -> set[int]:
    backup = world.catalog().read("nightly")
    return {
        item.num_of_rows
        for collection in backup.collection_backups
        for part in collection.partition_backups
        for item in part.segment_backups
        if str(item.segment_id) == segment
    }


@pytest.mark.parametrize("damage", ["missing", "rotten"])
def test_salvage_restores_what_is_whole_and_lists_what_is_lost(damage: str, silent: World) -> None:
    key = next(key for key in keys_of(silent, "insert_log") if b"text 8" in silent.backed_up[key])
    if damage == "missing":
        silent.backup.delete([key])
    else:
        rot(silent, key)
    report = partial(silent, "collections-not-whole", salvage=True)
    docs, logs = report.collections
    assert (docs.outcome, logs.outcome) == (CollectionState.SALVAGED, CollectionState.DONE)
    kept = [row for row in silent.milvus.visible_rows("docs") if row[0] < 8]
    assert silent.milvus.visible_rows("docs_back") == kept
    assert rows_in(silent, segment_of(key)) == {4}
    assert any(segment_of(key) in note and "4 rows" in note for note in docs.notes), docs.notes


def test_salvage_of_a_whole_backup_is_a_restore(world: World) -> None:
    report = world.restore(suffix="_back", salvage=True)
    assert {item.outcome for item in report.collections} == {CollectionState.DONE}


@pytest.mark.parametrize("file", ["collection_meta.json", "mbk.json", "objects-"])
@pytest.mark.parametrize("damage", ["missing", "rotten"])
def test_salvage_restores_although_a_metadata_file_is_lost(classic: World, file: str, damage: str) -> None:
    (key,) = [key for key in classic.backed_up if f"nightly/meta/{file}" in key]
    if damage == "missing":
        classic.backup.delete([key])
    else:
        classic.backup.write(key, [classic.backed_up[key][:-9] + bytes(9)])
    with raised(DamagedBackup):
        classic.restore(suffix="_back")
    classic.restore(suffix="_back", salvage=True)
    assert classic.milvus.visible_rows("docs_back") == classic.milvus.visible_rows("docs")
    assert ("salvaging-levels" if file == "collection_meta.json" else "salvaging") in classic.notices


def test_salvage_tells_of_deletes_that_are_lost() -> None:
    world = world_of(same=False)
    world.backup.delete(keys_of(world, "delta_log"))
    report = partial(world, "collections-not-whole", salvage=True)
    assert len(world.milvus.visible_rows("docs_back")) == 12
    assert any("2 deletes" in note for note in report.collections[0].notes)


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_wrong_number_of_rows_is_a_failure_where_the_exact_one_is_known() -> None:
    world = world_of(same=True)
    found = world.milvus._get("other", "logs")
    found.loaded = True
    world.milvus.calls.clear()
    world.create("loaded")
    count = world.milvus.row_count
    world.milvus.rows._methods["count"] = lambda database, name: (count(database, name) or 0) - 1
    with raised(PartialFailure, "collections-not-restored") as caught:
        world.restore("loaded", suffix="_back", load=True)
    error = caught.value
    assert isinstance(error, PartialFailure)
    assert isinstance(error.report, RunReport)
    logs = error.report.collections[1]
    assert (logs.outcome, logs.rows_expected, logs.rows_present) == (CollectionState.WRONG, 3, 2)
    assert "other.logs_back" in world.milvus.names
    assert "3" in (logs.error or "")
    with raised(RowsWrong, "collections-wrong") as wrong:
        world.restore("loaded", suffix="_again", load=True, selection=chosen("other.logs_again"))
    assert wrong.value.exit_code == 8
    assert "run again" not in str(wrong.value)


# -- without digests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 12, -1, -6], ids=["magic", "kind of event", "end", "footer"])
@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
def test_contents_parses_what_no_digest_is_recorded_of(kind: str, at: int) -> None:
    """A backup of another tool: its binlogs are all that can be looked at."""
    world = World(features=V2_6)
    forged = Backup(world.backup)
    forged.data(P1, 460101, range(5), time=T, deletes=[Delete(3, T + 50)])
    forged.write()
    key = next(key for key in world.backed_up if f"/{kind}/" in key)
    data = bytearray(world.backed_up[key])
    data[at] ^= 0xFF
    world.backup.write(key, [bytes(data)])
    with raised(DamagedBackup, "object-damaged") as caught:
        world.restore("src", verify="contents")
    assert caught.value.facts["key"] == key
    assert not world.milvus.import_requests


def test_contents_finds_a_file_of_another_field() -> None:
    world = World(features=V2_6)
    forged = Backup(world.backup)
    forged.data(P1, 460101, range(5), time=T)
    key, other = (next(key for key in world.backed_up if f"/{field}/" in key) for field in (0, 1))
    world.backup.write(key, [world.backed_up[other]])
    logs = {item["fieldID"]: item["binlogs"][0] for item in forged.partitions[P1][0]["binlogs"]}
    logs[0]["log_size"] = logs[1]["log_size"]
    forged.write()
    with raised(DamagedBackup, "object-damaged") as caught:
        world.restore("src", verify="contents")
    assert caught.value.facts["key"] == key


def test_a_milvus_that_stops_amid_unchecked_contents_is_not_given_them_again(classic: World) -> None:
    def dying(*_: Any, **_more: Any) -> str:
        raise MilvusUnavailable("connection refused", retryable=False)

    classic.milvus.imports._methods["start"] = dying
    with pytest.raises(MilvusUnavailable):
        classic.restore(suffix="_back")
    assert "contents-unchecked" not in classic.notices, "all was compared"
    classic.edit(lambda _tree: None)
    with pytest.raises(MilvusUnavailable):
        classic.restore(suffix="_back")
    assert "contents-unchecked" in classic.notices


def test_an_object_that_was_misread_once_is_read_again(silent: World) -> None:
    key = keys_of(silent, "insert_log")[0]
    rotten = [key]
    chunks = silent.backup._chunks

    def misread(key: str, data: bytes) -> Iterator[bytes]:
        if rotten and key == rotten[0]:
            rotten.clear()
            data = bytes([data[0] ^ 1]) + data[1:]
        return chunks(key, data)

    silent.backup._chunks = misread  # type: ignore[method-assign]  # a line that flips a bit
    silent.restore(suffix="_back")
    assert silent.milvus.visible_rows("docs_back") == silent.milvus.visible_rows("docs")


def test_a_dry_run_of_a_salvage_tells_what_is_lost(world: World) -> None:
    key = keys_of(world, "insert_log")[0]
    world.backup.delete([key])
    report = world.restore(suffix="_back", salvage=True, dry_run=True)
    assert any("rows lost" in note for note in report.collections[0].notes)
    assert nothing_was_made(world)
