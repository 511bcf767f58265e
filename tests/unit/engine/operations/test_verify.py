"""`verify` on backups whose objects the double's codec wrote: each kind of damage, in each depth that can notice it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import structs

from mbk.config.schema import StorageChoice
from mbk.engine.operations import copy, verify
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.removal import Remover
from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.context import Context, CopyContext
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import (
    BackupNotFound,
    DamageFound,
    InvalidBackup,
    PermissionDenied,
    StorageUnavailable,
    UsageError,
)
from mbk.model.events import Event
from mbk.model.manifest import Manifest
from mbk.model.options import CopyOptions, VerifyOptions
from mbk.model.reports import VerifyReport
from mbk.model.states import BackupState, Depth, FindingKind
from mbk.registry.registry import Registry
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import AT_ONCE, QUICK, Killed, Life
from tests.raising import raised
from tests.sharing import OWNER, share
from tests.unit.engine.forged import COLL, P1, P2, Backup, Tree, content_of, meta, objects

POOL = "backup/.mbk/pool/"
ALL_DEPTHS = (Depth.LISTING, Depth.DIGESTS, Depth.CONTENTS)


def context(storage: MemoryStorage, events: list[Event] | None = None, workers: int = 2) -> Context:
    seen = [] if events is None else events
    budget = Budget(copies=workers, parts=workers, collections=workers, segments=workers)
    return Context(
        run=Run(seen.append, policy=QUICK, budget=budget),
        backup_storage=storage,
        # What a killed run held is taken over at once.
        pace=replace(AT_ONCE, progress=0.0, lease=LeasePace(settle=0.001, expiry=0.01, poll=0.001)),
        tool="mbk test",
    )


def run(storage: MemoryStorage, depth: Depth = Depth.DIGESTS, **options: Any) -> VerifyReport:
    """The report, whatever was found."""
    try:
        return verify.execute(context(storage), "src", VerifyOptions(depth=depth, **options))
    except DamageFound as found:
        return cast("VerifyReport", found.report)


def kinds(report: VerifyReport) -> dict[str, FindingKind]:
    return {item.key: item.kind for item in report.findings}


def filled(storage: MemoryStorage, **options: Any) -> Backup:
    """Two partitions, three segments of which two are alike, deletes of every kind. No record."""
    backup = Backup(storage, **options)
    backup.data(P1, 460101, range(20), time=1000, deletes=backup.delete(0, time=5000))
    backup.data(P1, 460102, range(20, 40), time=1000)
    backup.data(P2, 460103, range(10, 40), time=1000)
    backup.l0_segment(P1, 460105, backup.delete(1, 2, 3, 25, time=2000))
    backup.l0_segment(-1, 460107, backup.delete(5, 6, 12, 22, 39, 777, time=3000))
    backup.write()
    return backup


def completed(storage: MemoryStorage) -> None:
    """As if the collection that failed had been backed up later."""
    catalog = Catalog(storage, Run(policy=QUICK))
    catalog.write_manifest("src", structs.replace(catalog.read_manifest("src"), failed={}))


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(MemoryService("backups"), "backups", root="backup/")


@pytest.fixture(params=["classic", "shared"])
def recorded(storage: MemoryStorage, request: pytest.FixtureRequest) -> MemoryStorage:
    """With a record of its objects."""
    filled(storage)
    run(storage, Depth.CONTENTS, record=True)
    if request.param == "shared":
        share(storage, "src")
        run(storage, Depth.CONTENTS)
    return storage


def whole_key(key: str) -> str:
    """Of a key that a finding tells: that of an object in the pool begins with an id."""
    return f"{POOL if key.startswith(OWNER) else 'backup/src/'}{key}"


def data(storage: MemoryStorage) -> dict[str, bytes]:
    classic = objects(storage, "backup/src/binlogs/").items()
    return {**{f"binlogs/{key}": content for key, content in classic}, **objects(storage, POOL)}


def write(storage: MemoryStorage, key: str, content: bytes) -> None:
    storage.write(whole_key(key), [content])


def first(storage: MemoryStorage, kind: str, segment: int) -> str:
    return next(key for key in sorted(data(storage)) if f"/{kind}/" in key and f"/{segment}/" in key)


def flipped(content: bytes, at: float = 0.5) -> bytes:
    place = int(len(content) * at)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


# -- nothing wrong -----------------------------------------------------------------------------------------------------

VARIANTS: list[Tree] = [{}, {"version": 2}, {"grouped": False}]


@pytest.mark.parametrize("depth", ALL_DEPTHS)
@pytest.mark.parametrize("options", VARIANTS, ids=["envelopes", "column groups", "old layout"])
def test_nothing_is_found_in_a_whole_backup_with_and_without_a_record(
    storage: MemoryStorage, options: Tree, depth: Depth
) -> None:
    filled(storage, **options)
    assert run(storage, depth).found == 0
    assert run(storage, Depth.CONTENTS, record=True).findings == ()
    report = run(storage, depth)
    assert report.findings == ()
    assert report.recorded
    (collection,) = report.collections
    assert (collection.name, collection.rows) == ("db.coll", 70)
    assert collection.objects == len(data(storage))
    assert collection.size == sum(map(len, data(storage).values()))


def test_contents_are_read_once_and_proven_and_parsed(recorded: MemoryStorage) -> None:
    (collection,) = run(recorded, Depth.CONTENTS).collections
    assert collection.read == collection.proven == collection.parsed == collection.objects
    assert collection.read_size == collection.size


def test_digests_read_no_data_and_count_what_the_storage_vouches_for(recorded: MemoryStorage) -> None:
    seen: list[str] = []
    recorded.fault = lambda operation, key: seen.append(key) if operation == "read" else None
    (collection,) = run(recorded, Depth.DIGESTS).collections
    assert collection.vouched == collection.objects
    assert collection.read == 0
    assert not [key for key in seen if "/binlogs/" in key]


def test_a_file_system_vouches_for_nothing_that_it_is_not_asked_to_read(tmp_path: Path) -> None:
    registry = Registry(disabled=())
    storage: Any = registry.open(StorageChoice(type="local", values={"root_path": str(tmp_path)}))
    filled(storage, root=storage.location.root)
    run(storage, Depth.CONTENTS, record=True)
    (collection,) = run(storage, Depth.DIGESTS).collections
    assert collection.vouched == 0
    path = next(path for path in sorted(tmp_path.rglob("*")) if path.is_file() and "insert_log" in str(path))
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    with path.open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(flipped(content))
    os.utime(path, ns=times)
    assert run(storage, Depth.DIGESTS).found == 0
    damaged = {path.relative_to(tmp_path / "src").as_posix(): FindingKind.DAMAGED}
    assert kinds(run(storage, Depth.CONTENTS)) == damaged
    # What was written since the record was made is looked at.
    path.write_bytes(path.read_bytes())
    assert kinds(run(storage, Depth.DIGESTS)) == damaged
    storage.close()


# -- damage ------------------------------------------------------------------------------------------------------------

Damage = Callable[[MemoryStorage], dict[str, FindingKind]]


def missing_insert(storage: MemoryStorage) -> dict[str, FindingKind]:
    key = first(storage, "insert_log", 460101)
    storage.delete([whole_key(key)])
    return {key: FindingKind.MISSING}


def missing_deletes(storage: MemoryStorage) -> dict[str, FindingKind]:
    keys = [key for key in data(storage) if "/delta_log/" in key]
    storage.delete([whole_key(key) for key in keys])
    return dict.fromkeys(keys, FindingKind.MISSING)


def truncated(storage: MemoryStorage) -> dict[str, FindingKind]:
    key = first(storage, "insert_log", 460102)
    write(storage, key, data(storage)[key][:-20])
    return {key: FindingKind.RESIZED}


def emptied(storage: MemoryStorage) -> dict[str, FindingKind]:
    key = first(storage, "delta_log", 460107)
    write(storage, key, b"")
    return {key: FindingKind.RESIZED}


def stranger(storage: MemoryStorage) -> dict[str, FindingKind]:
    write(storage, "binlogs/insert_log/1/2/3/3/100/7", b"?")
    write(storage, "meta/notes.txt", b"?")
    write(storage, "tmp/x", b"?")
    return dict.fromkeys(("binlogs/insert_log/1/2/3/3/100/7", "meta/notes.txt", "tmp/x"), FindingKind.EXTRA)


def doubled(storage: MemoryStorage) -> dict[str, FindingKind]:
    found = {}
    for key, content in data(storage).items():
        if "/460103/" in key:
            copy = f"{key}9"
            write(storage, copy, content)
            # In the pool it may be another backup's.
            if not copy.startswith(OWNER):
                found[copy] = FindingKind.EXTRA
    return found


SIZES: list[Damage] = [missing_insert, missing_deletes, truncated, emptied, stranger, doubled]


@pytest.mark.parametrize("depth", ALL_DEPTHS)
@pytest.mark.parametrize("damage", SIZES)
def test_what_a_listing_tells_is_found_in_every_depth(
    recorded: MemoryStorage, damage: Damage, depth: Depth
) -> None:
    expected = damage(recorded)
    assert kinds(run(recorded, depth)) == expected


@pytest.mark.parametrize("depth", ALL_DEPTHS)
@pytest.mark.parametrize("damage", [missing_insert, missing_deletes, truncated, stranger, doubled])
def test_without_a_record_the_lists_of_the_metadata_are_compared(
    storage: MemoryStorage, damage: Damage, depth: Depth
) -> None:
    filled(storage)
    expected = damage(storage)
    report = run(storage, depth)
    assert not report.recorded
    assert expected.items() <= kinds(report).items()


def flip(at: float) -> Damage:
    def damage(storage: MemoryStorage) -> dict[str, FindingKind]:
        key = first(storage, "insert_log", 460102)
        write(storage, key, flipped(data(storage)[key], at))
        return {key: FindingKind.DAMAGED}

    return damage


def exchanged(storage: MemoryStorage) -> dict[str, FindingKind]:
    one, other = (
        sorted(key for key in data(storage) if f"/{segment}/101/" in key)[0] for segment in (460101, 460102)
    )
    contents = data(storage)
    assert len(contents[one]) == len(contents[other])
    write(storage, one, contents[other])
    write(storage, other, contents[one])
    return {one: FindingKind.DAMAGED, other: FindingKind.DAMAGED}


BYTES: list[Damage] = [*map(flip, (0, 0.1, 0.5, 0.9, 0.999)), exchanged]


@pytest.mark.parametrize("damage", BYTES)
def test_other_bytes_of_the_same_size_are_told_by_digests_and_proven_by_contents(
    recorded: MemoryStorage, damage: Damage
) -> None:
    expected = damage(recorded)
    assert run(recorded, Depth.LISTING).found == 0
    assert kinds(run(recorded, Depth.DIGESTS)) == dict.fromkeys(expected, FindingKind.CHANGED)
    assert kinds(run(recorded, Depth.CONTENTS)) == expected


def test_logs_of_two_segments_that_were_exchanged_are_found_without_a_record(storage: MemoryStorage) -> None:
    filled(storage)
    expected = exchanged(storage)
    report = run(storage, Depth.CONTENTS)
    assert kinds(report) == dict.fromkeys(expected, FindingKind.INCONSISTENT)
    assert {item.segment for item in report.findings} == {460101, 460102}
    assert {item.rows for item in report.findings} == {20}


@pytest.mark.parametrize("version", [1, 2])
def test_rows_that_contradict_the_metadata_are_found_without_a_record(
    storage: MemoryStorage, version: int
) -> None:
    backup = filled(storage, version=version)
    backup.partitions[P2][0]["num_of_rows"] = 31
    backup.write()
    (finding,) = run(storage, Depth.CONTENTS).findings
    assert (finding.kind, finding.segment, finding.rows) == (FindingKind.INCONSISTENT, 460103, 31)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
def test_what_is_no_file_of_milvus_is_found_without_a_record(
    storage: MemoryStorage, version: int, kind: str
) -> None:
    filled(storage, version=version)
    key = first(storage, kind, 460101)
    write(storage, key, b"x" * len(data(storage)[key]))
    assert kinds(run(storage, Depth.CONTENTS)) == {key: FindingKind.UNPARSABLE}


@pytest.mark.parametrize("file", ["full_meta.json", "mbk.json", "objects"])
@pytest.mark.parametrize("change", ["removed", "flipped", "cut"])
def test_damaged_metadata_is_a_finding_in_every_depth(
    recorded: MemoryStorage, file: str, change: str
) -> None:
    name = next(key for key in objects(recorded, "backup/src/meta/") if key.startswith(file))
    content = content_of(recorded, f"backup/src/meta/{name}")
    if change == "removed":
        recorded.delete([f"backup/src/meta/{name}"])
    else:
        write(recorded, f"meta/{name}", flipped(content) if change == "flipped" else content[:-9])
    if (file, change) == ("full_meta.json", "removed"):
        with raised(InvalidBackup, "backup-incomplete"):
            run(recorded)
        return
    for depth in ALL_DEPTHS:
        report = run(recorded, depth)
        assert [item.kind for item in report.findings] == [FindingKind.METADATA]
        assert name in report.findings[0].key


@pytest.mark.parametrize("what", ["stranger", "metadata", "data"])
def test_the_advice_fits_what_was_found(recorded: MemoryStorage, what: str) -> None:
    if what == "stranger":
        write(recorded, "binlogs/insert_log/1/2/3/3/100/7", b"?")
    else:
        key = "meta/mbk.json" if what == "metadata" else first(recorded, "insert_log", 460103)
        recorded.delete([whole_key(key)])
    with raised(DamageFound, "backup-damaged") as caught:
        verify.execute(context(recorded), "src", VerifyOptions(depth=Depth.LISTING))
    error = caught.value
    assert ("--salvage" in (error.hint or "")) == (what == "data")
    assert str(error).count("--salvage") == (what != "stranger")


def test_an_object_that_the_storage_does_not_hand_out_is_a_finding(recorded: MemoryStorage) -> None:
    key = first(recorded, "insert_log", 460103)

    def refuse(operation: str, what: str) -> None:
        if operation == "read" and what.endswith(key):
            raise PermissionDenied("not for you", code="test")

    recorded.fault = refuse
    assert kinds(run(recorded, Depth.CONTENTS)) == {key: FindingKind.UNREADABLE}


def test_a_read_that_returns_other_bytes_than_are_stored_is_found(recorded: MemoryStorage) -> None:
    key = first(recorded, "insert_log", 460103)
    bucket = recorded.service.buckets["backups"].objects
    stored = bucket[whole_key(key)]
    # The service still tells the digests of what was written.
    bucket[whole_key(key)] = type(stored)(flipped(stored.data), stored.info)
    assert run(recorded, Depth.DIGESTS).found == 0
    assert kinds(run(recorded, Depth.CONTENTS)) == {key: FindingKind.DAMAGED}


# -- samples -----------------------------------------------------------------------------------------------------------


def test_samples_of_consecutive_days_cover_everything(recorded: MemoryStorage) -> None:
    read: dict[str, int] = {}

    def note(operation: str, key: str) -> None:
        if operation == "read" and "/binlogs/" in key:
            read[key] = read.get(key, 0) + 1

    files, recorded.fault = {*data(recorded)}, note
    for day in range(4):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        options = VerifyOptions(depth=Depth.CONTENTS, sample=cast("int", "25%"))
        verify.execute(context(recorded), "src", options, at=at)
    assert read.keys() == set(map(whole_key, files))
    assert {*read.values()} == {1}


@pytest.mark.parametrize("sample", ["0%", "101", "x", "", True, 1.5])
def test_a_sample_is_a_percentage(sample: Any) -> None:
    if sample == "":
        assert VerifyOptions(depth=Depth.CONTENTS, sample=sample).sample == 100
        return
    with raised(UsageError, "percentage-invalid"):
        VerifyOptions(depth=Depth.CONTENTS, sample=sample)


def test_options_that_contradict_each_other_are_refused() -> None:
    with raised(UsageError, "sample-without-contents"):
        VerifyOptions(sample=10)
    with raised(UsageError, "options-conflict"):
        VerifyOptions(record=True, depth=Depth.LISTING)
    with raised(UsageError, "options-conflict"):
        VerifyOptions(record=True, depth=Depth.CONTENTS, sample=10)
    assert VerifyOptions(record=True).depth is Depth.CONTENTS


# -- what is kept ------------------------------------------------------------------------------------------------------


def last(storage: MemoryStorage) -> Any:
    (summary,) = Catalog(storage, Run(policy=QUICK)).summaries()
    return summary.verified


def test_the_result_is_shown_in_the_listing(recorded: MemoryStorage) -> None:
    assert (last(recorded).depth, last(recorded).findings) == (Depth.CONTENTS, 0)  # of the record
    run(recorded, Depth.DIGESTS)
    assert (last(recorded).depth, last(recorded).findings) == (Depth.DIGESTS, 0)
    missing_insert(recorded)
    report = run(recorded, Depth.LISTING)
    assert report.stored
    assert (last(recorded).depth, last(recorded).findings) == (Depth.LISTING, 1)


def test_damage_that_was_found_is_shown_until_something_as_deep_disproves_it(recorded: MemoryStorage) -> None:
    key = first(recorded, "insert_log", 460102)
    whole = data(recorded)[key]
    write(recorded, key, flipped(whole))
    run(recorded, Depth.CONTENTS)
    run(recorded, Depth.LISTING)
    assert (last(recorded).depth, last(recorded).findings) == (Depth.CONTENTS, 1)
    write(recorded, key, whole)
    run(recorded, Depth.DIGESTS)
    run(recorded, Depth.CONTENTS, sample="50%")
    assert last(recorded).findings == 1
    run(recorded, Depth.CONTENTS)
    assert last(recorded).findings == 0


def test_without_permission_to_write_the_backup_is_verified_all_the_same(recorded: MemoryStorage) -> None:
    def read_only(operation: str, _key: str) -> None:
        if operation in ("write", "delete"):
            raise PermissionDenied("read only", code="test")

    recorded.fault = read_only
    before = last(recorded)
    for depth in ALL_DEPTHS:
        events: list[Event] = []
        report = verify.execute(context(recorded, events), "src", VerifyOptions(depth=depth))
        assert not report.stored
        assert "result-not-stored" in [getattr(event, "code", "") for event in events]
    assert last(recorded) == before


def test_the_result_belongs_to_the_backup_as_it_was(recorded: MemoryStorage) -> None:
    verified = content_of(recorded, "backup/src/meta/verified.json")
    other = json.loads(verified) | {"subject": "another commit"}
    write(recorded, "meta/verified.json", json.dumps(other).encode())
    assert last(recorded) is None
    write(recorded, "meta/verified.json", b"{ broken")
    assert last(recorded) is None
    assert run(recorded, Depth.LISTING).found == 0


def test_a_backup_that_is_not_there_or_not_complete_is_no_finding(storage: MemoryStorage) -> None:
    with raised(BackupNotFound, "backup-missing"):
        run(storage)
    Catalog(storage, Run(policy=QUICK)).write_manifest("src", Manifest(tool="mbk", name="src"))
    with raised(InvalidBackup, "backup-incomplete"):
        run(storage)


def test_a_plan_counts_what_would_be_read_and_writes_nothing(recorded: MemoryStorage) -> None:
    before = objects(recorded, "backup/")
    ours = context(recorded)
    plan = verify.preview(ours, verify.plan(ours, "src", VerifyOptions(depth=Depth.CONTENTS)))
    assert (plan.objects, plan.size) == (len(data(recorded)), sum(map(len, data(recorded).values())))
    assert objects(recorded, "backup/") == before


# -- interrupted -------------------------------------------------------------------------------------------------------


def test_an_interrupted_verification_is_continued_and_reads_nothing_twice(recorded: MemoryStorage) -> None:
    reads: list[str] = []

    def breaks(operation: str, key: str) -> None:
        if operation == "read" and "/binlogs/" in key:
            reads.append(key)
            if "/460103/" in key and limit is not None:
                raise StorageUnavailable("gone", code="test")

    limit: int | None = 1
    recorded.fault = breaks
    with pytest.raises(StorageUnavailable):
        verify.execute(context(recorded, workers=1), "src", VerifyOptions(depth=Depth.CONTENTS))
    assert "backup/src/meta/verifying.json" in recorded.service.buckets["backups"].objects
    before, limit = {*reads}, None
    reads.clear()
    report = verify.execute(context(recorded, workers=1), "src", VerifyOptions(depth=Depth.CONTENTS))
    assert report.resumed
    assert [key for key in before if "/460101/" in key or "/460102/" in key]
    assert not [key for key in reads if "/460101/" in key or "/460102/" in key]
    assert "meta/verifying.json" not in objects(recorded, "backup/src/")
    assert not verify.execute(context(recorded), "src", VerifyOptions(depth=Depth.CONTENTS)).resumed


def test_what_was_found_before_an_interruption_is_found_again(recorded: MemoryStorage) -> None:
    key = first(recorded, "insert_log", 460101)
    write(recorded, key, flipped(data(recorded)[key]))
    alive = recorded.fault

    def breaks(operation: str, what: str) -> None:
        if operation == "read" and "/460103/" in what:
            raise StorageUnavailable("gone", code="test")

    recorded.fault = breaks
    with pytest.raises(StorageUnavailable):
        verify.execute(context(recorded, workers=1), "src", VerifyOptions(depth=Depth.CONTENTS))
    recorded.fault = alive
    report = run(recorded, Depth.CONTENTS)
    assert report.resumed
    assert kinds(report) == {key: FindingKind.DAMAGED}


@pytest.mark.parametrize("damaged", [False, True])
def test_killed_at_any_moment_it_ends_well_when_run_again(recorded: MemoryStorage, damaged: bool) -> None:
    if damaged:
        key = first(recorded, "insert_log", 460101)
        write(recorded, key, flipped(data(recorded)[key]))
    alive, life = recorded.fault, Life()
    recorded.fault = life
    expected = run(recorded, Depth.CONTENTS).findings
    assert bool(expected) == damaged
    resumed = 0
    for moment in range(1, life.operations, 11):
        recorded.fault = Life(moment)
        with pytest.raises(Killed):
            run(recorded, Depth.CONTENTS)
        recorded.fault = alive
        report = run(recorded, Depth.CONTENTS)
        assert report.findings == expected
        assert "meta/verifying.json" not in objects(recorded, "backup/src/")
        resumed += report.resumed
    assert resumed


@pytest.mark.parametrize("moment", ["read", "write"])
def test_nothing_is_left_of_a_backup_that_was_deleted_meanwhile(recorded: MemoryStorage, moment: str) -> None:
    alive = recorded.fault

    def deleted(operation: str, key: str) -> None:
        if operation == moment and ("/binlogs/" in key or key.endswith("verified.json")):
            recorded.fault = alive
            ours = Run(policy=QUICK)
            Remover(recorded, Catalog(recorded, ours), ours, milvus=None).remove("src")

    recorded.fault = deleted
    with suppress(BackupNotFound):
        run(recorded, Depth.CONTENTS)
    assert objects(recorded, "backup/src/") == {}


# -- making a record ---------------------------------------------------------------------------------------------------


def test_a_record_is_made_of_what_was_read_and_leaves_the_rest_as_it_was(storage: MemoryStorage) -> None:
    filled(storage)
    before, files = meta(storage, "src"), data(storage)
    report = run(storage, Depth.CONTENTS, record=True)
    assert report.found == 0
    after = meta(storage, "src")
    mark = after.pop("mbk")
    assert after == before
    assert mark["objects"] == len(files)
    assert data(storage) == files
    catalog = Catalog(storage, Run(policy=QUICK))
    committed = catalog.committed("src")
    assert committed.manifest.commit == mark["commit"]
    record = catalog.open_record(committed)
    assert record is not None
    with record:
        assert {item.key: item.size for item in record.objects()} == {
            key: len(content) for key, content in files.items()
        }
        assert all(item.digests for item in record.objects())
    with raised(UsageError, "record-exists"):
        run(storage, record=True)


def test_no_record_is_made_of_a_damaged_backup(storage: MemoryStorage) -> None:
    filled(storage)
    expected = exchanged(storage)
    before = objects(storage, "backup/src/meta/")
    assert kinds(run(storage, Depth.CONTENTS, record=True)).keys() == expected.keys()
    after = objects(storage, "backup/src/meta/")
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.startswith("objects-")]


def test_objects_that_do_not_belong_to_the_backup_are_not_recorded(storage: MemoryStorage) -> None:
    filled(storage)
    expected = doubled(storage)
    assert kinds(run(storage, Depth.CONTENTS, record=True)) == expected
    assert kinds(run(storage, Depth.CONTENTS)) == expected
    assert run(storage, Depth.CONTENTS).recorded


def test_killed_while_the_record_is_made_the_backup_stays_whole(storage: MemoryStorage) -> None:
    filled(storage)
    alive, whole = storage.fault, objects(storage, "backup/")
    done: list[str] = []
    storage.fault = lambda operation, _key: done.append(operation)
    run(storage, Depth.CONTENTS, record=True)
    storage.fault = alive
    # Before the first write everything is only read.
    for moment in range(done.index("write"), len(done)):
        storage.delete([f"backup/{key}" for key in objects(storage, "backup/")])
        for key, content in whole.items():
            storage.write(f"backup/{key}", [content])
        storage.fault = Life(moment)
        with pytest.raises(Killed):
            run(storage, Depth.CONTENTS, record=True)
        storage.fault = alive
        catalog = Catalog(storage, Run(policy=QUICK))
        (summary,) = catalog.summaries()
        assert summary.state == BackupState.PARTIAL  # as the forged one
        assert [item.collection_id for item in catalog.read("src").collection_backups] == [COLL]
        assert run(storage, Depth.CONTENTS).found == 0
        if not run(storage, Depth.LISTING).recorded:
            assert run(storage, Depth.CONTENTS, record=True).found == 0


# -- beside other operations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [True, False])
def test_a_copy_has_not_been_verified(storage: MemoryStorage, record: bool) -> None:
    filled(storage)
    completed(storage)
    run(storage, Depth.CONTENTS, record=record)
    target = MemoryStorage(storage.service, "backups", root="copies/")
    to_there = CopyContext(run=Run(policy=QUICK), backup_storage=storage, target=target, pace=AT_ONCE)
    copy.execute(to_there, "src", CopyOptions(path="copies"))
    assert last(storage) is not None
    assert last(target) is None
    report = run(target, Depth.CONTENTS)
    assert (report.found, report.recorded) == (0, record)
    assert last(target) is not None
