"""`mbk check`: every question is asked and answered by itself, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mbk.engine.operations.check import Check
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.errors import (
    AuthenticationFailed,
    MbkError,
    MilvusError,
    MilvusUnavailable,
    PermissionDenied,
    StorageError,
    StorageUnavailable,
    Throttled,
    Unsupported,
)
from mbk.model.operations import OPERATIONS as COMMANDS
from mbk.model.reports import CheckResult
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature
from mbk.ports.storage import Capabilities, ObjectInfo, Storage
from mbk.testing import MemoryService, MemoryStorage
from mbk.testing.memory import EVERYTHING
from mbk_local.storage import LocalStorage
from tests.fakes.milvus import V2_3, V2_4, V2_5, FakeMilvus
from tests.fakes.world import QUICK

OPERATIONS = ("write", "list", "read", "conditional create", "server-side copy", "part copy", "delete")
AFTERWARDS = "unfinished uploads"
SIDES = ("milvus storage", "backup storage")
COPIES = ("copy from milvus storage to backup storage", "copy from backup storage to milvus storage")
DATA = "milvus storage: Milvus' data"
REST = "milvus: REST"


@dataclass
class Place:
    """A Milvus with flushed rows, its bucket, and an empty bucket for backups."""

    root: str = "files/"
    milvus_can: Capabilities = EVERYTHING
    backup_can: Capabilities = EVERYTHING
    one_service: bool = True
    rows: bool = True
    features: frozenset[Feature] = V2_3
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        service = MemoryService("milvus", "backups")
        other = service if self.one_service else MemoryService("backups")
        self.server = FakeMilvus(MemoryStorage(service, "milvus", root="files/"), features=self.features)
        self.server.add("docs")
        if self.rows:
            self.server.insert("docs", range(20))
        self.storage = MemoryStorage(service, "milvus", root=self.root, capabilities=self.milvus_can)
        self.backup = MemoryStorage(other, "backups", root="backup/", capabilities=self.backup_can)
        self.before = self.objects()
        for side, storage in zip(SIDES, (self.storage, self.backup), strict=True):
            storage.fault = self.noting(side)

    def noting(
        self, side: str, fault: Callable[[str, str], None] = lambda _call, _key: None
    ) -> Callable[[str, str], None]:
        def note(call: str, key: str) -> None:
            self.asked.append((side, call, key))
            fault(call, key)

        return note

    def failing(self, side: str, error: Callable[[], MbkError], *calls: str, times: int = 10**9) -> None:
        """These calls of one side's storage raise, so many times."""
        left = [times]

        def fault(call: str, _key: str) -> None:
            if call in calls and left[0] > 0:
                left[0] -= 1
                raise error()

        (self.storage if side == SIDES[0] else self.backup).fault = self.noting(side, fault)

    def check(
        self,
        *,
        milvus: Callable[[], Milvus] | None = None,
        storage: Callable[[], Storage] | None = None,
        backup: Callable[[], Storage] | None = None,
        command: str = "all",
    ) -> dict[str, CheckResult]:
        run = Run(policy=QUICK)
        check = Check(
            milvus or (lambda: self.server),
            storage or (lambda: self.storage),
            backup or (lambda: self.backup),
            run,
            TransferLimits(),
            command=COMMANDS.get(command),
        )
        return {result.what: result for result in check.results()}

    def objects(self) -> dict[str, bytes]:
        return {
            f"{storage.location.bucket}:{key}": stored.data
            for storage in (self.storage, self.backup)
            for key, stored in storage.bucket.objects.items()
        }

    def nothing_is_left(self) -> bool:
        uploads = self.storage.bucket.uploads + self.backup.bucket.uploads
        return self.objects() == self.before and uploads == []


def failed(results: dict[str, CheckResult]) -> set[str]:
    return {what for what, result in results.items() if not result.ok}


def warned(results: dict[str, CheckResult]) -> set[str]:
    return {what for what, result in results.items() if result.ok and result.warning}


def test_every_operation_of_both_sides_has_an_answer_and_nothing_is_left() -> None:
    place = Place()
    results = place.check()
    assert [*results] == [
        "milvus",
        "milvus: list collections",
        "milvus: pause garbage collection",
        "milvus storage",
        DATA,
        *(f"milvus storage: {operation}" for operation in (*OPERATIONS, AFTERWARDS)),
        "backup storage",
        *(f"backup storage: {operation}" for operation in (*OPERATIONS, AFTERWARDS)),
        *COPIES,
    ]
    assert (failed(results), warned(results)) == (set(), set())
    assert {results[what].detail for what in COPIES} == {"server side"}
    assert place.nothing_is_left()


@pytest.mark.parametrize(
    ("missing", "operation", "means"),
    [
        ("conditional_write", "conditional create", "concurrent runs under one backup name"),
        ("server_side_copy", "server-side copy", "pass through this process"),
        ("part_copy", "part copy", "large objects are"),
        ("multipart", "part copy", "large objects are"),
    ],
)
@pytest.mark.parametrize("side", SIDES)
def test_what_a_storage_cannot_do_is_a_warning_with_its_meaning(
    side: str, missing: str, operation: str, means: str
) -> None:
    without: dict[str, Any] = {missing: False}
    can = dataclasses.replace(EVERYTHING, **without)
    place = Place(
        milvus_can=can if side == SIDES[0] else EVERYTHING, backup_can=can if side == SIDES[1] else EVERYTHING
    )
    results = place.check()
    assert failed(results) == set()
    assert warned(results) == {f"{side}: {operation}"}
    assert means in results[f"{side}: {operation}"].detail
    assert place.nothing_is_left()


@pytest.mark.parametrize(
    ("copies_any_size", "means"),
    [(True, "large objects are copied whole"), (False, "large objects are streamed")],
)
def test_without_part_copies_it_is_told_how_large_objects_go(copies_any_size: bool, means: str) -> None:
    limit = None if copies_any_size else 10**9
    place = Place(backup_can=dataclasses.replace(EVERYTHING, part_copy=False, max_copy_size=limit))
    assert means in place.check()["backup storage: part copy"].detail


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        ("read", "read"),
        ("copy", "server-side copy"),
        ("copy_part", "part copy"),
        ("complete", "part copy"),
        ("multipart", "part copy"),
    ],
)
@pytest.mark.parametrize("side", SIDES)
def test_a_refused_operation_is_the_only_one_of_its_side_that_fails(
    side: str, call: str, operation: str
) -> None:
    place = Place()
    place.failing(side, lambda: PermissionDenied("bucket 'mine': no", hint="ask its owner"), call)
    results = place.check()
    broken = {what for what in failed(results) if what.startswith(side)}
    assert broken == {f"{side}: {operation}"}
    answer = results[f"{side}: {operation}"]
    assert (answer.detail, answer.hint, answer.exit_code) == ("bucket 'mine': no", "ask its owner", 6)
    assert place.nothing_is_left()


@pytest.mark.parametrize("side", SIDES)
def test_where_nothing_can_be_written_the_other_operations_are_not_called_working(side: str) -> None:
    place = Place()
    place.failing(side, lambda: PermissionDenied("read only"), "write")
    results = place.check()
    assert results[f"{side}: write"].detail == "read only"
    assert results[f"{side}: list"].ok
    for operation in ("read", "conditional create", "server-side copy", "part copy", "delete"):
        answer = results[f"{side}: {operation}"]
        assert (answer.ok, answer.exit_code) == (False, 6)
        assert answer.detail.startswith("not tried")
    other = next(name for name in SIDES if name != side)
    assert not {what for what in failed(results) if what.startswith(other)}
    assert place.nothing_is_left()


@pytest.mark.parametrize("side", SIDES)
def test_the_probe_is_removed_also_by_who_may_not_list(side: str) -> None:
    place = Place()
    place.failing(side, lambda: PermissionDenied("no listing"), "list")
    results = place.check()
    assert results[f"{side}: list"].detail == "no listing"
    assert results[f"{side}: delete"].ok
    assert place.nothing_is_left()


def test_who_may_not_delete_is_told_what_is_still_there() -> None:
    place = Place()
    place.failing("backup storage", lambda: PermissionDenied("no deleting"), "delete")
    results = place.check()
    assert {"backup storage: delete", *COPIES} == failed(results)
    assert "no deleting" in results["backup storage: delete"].detail
    assert {key.partition("/mbk_check_")[0] for key in place.objects() if key not in place.before} == {
        "backups:backup"
    }


@pytest.mark.parametrize("error", [PermissionDenied, Unsupported, StorageError, StorageUnavailable])
@pytest.mark.parametrize("side", SIDES)
def test_unfinished_uploads_that_cannot_be_looked_for_are_a_warning(side: str, error: type[MbkError]) -> None:
    place = Place()
    place.failing(side, lambda: error("no"), "clean")
    results = place.check()
    assert (failed(results), warned(results)) == (set(), {f"{side}: unfinished uploads"})
    assert place.nothing_is_left()


def test_a_service_that_is_busy_for_a_moment_leaves_no_probe_behind() -> None:
    place = Place()
    place.failing("backup storage", lambda: StorageUnavailable("503"), "clean", times=2)
    assert failed(place.check()) == set()
    assert place.nothing_is_left()


def test_a_write_whose_answer_was_lost_leaves_nothing_behind() -> None:
    class LosesAnswers(MemoryStorage):
        def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
            super().write(key, chunks, size=size)
            raise StorageUnavailable("the answer did not come")

    place = Place()
    lossy = LosesAnswers(place.backup.service, "backups", root="backup/")
    results = place.check(backup=lambda: lossy)
    assert not results["backup storage: write"].ok
    assert place.nothing_is_left()


def test_ctrl_c_in_the_middle_leaves_nothing_behind() -> None:
    place = Place()

    def stopped(call: str, _key: str) -> None:
        if call == "copy":
            raise KeyboardInterrupt

    place.backup.fault = stopped
    with pytest.raises(KeyboardInterrupt):
        place.check()
    assert place.nothing_is_left()


def test_a_reader_who_stops_asking_leaves_nothing_behind() -> None:
    place = Place()
    check = Check(
        lambda: place.server, lambda: place.storage, lambda: place.backup, Run(policy=QUICK), TransferLimits()
    )
    answers = check.results()
    next(answer for answer in answers if answer.what == "milvus storage: list")
    assert isinstance(answers, Generator)
    answers.close()
    assert place.nothing_is_left()


def test_in_a_directory_no_file_and_no_directory_is_left(tmp_path: Path) -> None:
    (tmp_path / "milvus").mkdir()
    (tmp_path / "backups").mkdir()
    place = Place(rows=False)
    results = place.check(
        storage=lambda: LocalStorage(tmp_path / "milvus"), backup=lambda: LocalStorage(tmp_path / "backups")
    )
    assert (failed(results), warned(results)) == (set(), {DATA})
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "backups", tmp_path / "milvus"]


# -- copies between the two ----------------------------------------------------------------------------------------


def test_between_services_the_copy_is_streamed_and_says_why() -> None:
    place = Place(one_service=False)
    results = place.check()
    assert {results[what].detail for what in COPIES} == {
        "streamed through this process: source and destination are different services"
    }
    assert place.nothing_is_left()


def test_a_copy_that_the_other_account_refuses_is_streamed_with_the_refusal() -> None:
    place = Place()

    copies = itertools.count()

    def fault(call: str, _key: str) -> None:
        # The first copy stays within the side.
        if call == "copy" and next(copies):
            raise PermissionDenied("may not read bucket 'milvus'")

    place.backup.fault = fault
    results = place.check()
    assert failed(results) == set()
    detail = results[COPIES[0]].detail
    assert detail.startswith("streamed through this process: the credentials of memory://")
    assert "may not copy from memory://" in detail
    assert results[COPIES[1]].detail == "server side"
    assert place.nothing_is_left()


# -- the right place -----------------------------------------------------------------------------------------------


def lists(place: Place, side: str) -> list[str]:
    return [key for name, call, key in place.asked if (name, call) == (side, "list")]


def test_a_wrong_root_path_is_a_failure_where_milvus_has_data() -> None:
    place = Place(root="elsewhere/")
    answer = place.check()[DATA]
    assert (answer.ok, answer.exit_code) == (False, 2)
    assert answer.hint
    assert "rootPath" in answer.hint
    assert place.nothing_is_left()


def test_a_wrong_bucket_is_a_failure_where_milvus_has_data() -> None:
    place = Place()
    answer = place.check(storage=lambda: place.backup)[DATA]
    assert (answer.ok, answer.exit_code) == (False, 2)
    assert answer.hint
    assert "bucketName" in answer.hint


def test_the_data_of_another_milvus_is_not_taken_for_this_ones() -> None:
    place = Place(root="other/")
    place.storage.write("other/insert_log/1/2/3/0/4", [b"x"], size=1)
    place.before = place.objects()
    answer = place.check()[DATA]
    assert (answer.ok, answer.exit_code) == (False, 2)
    assert "no data of default.docs below" in answer.detail
    assert place.nothing_is_left()


def test_a_root_without_data_is_a_warning_where_milvus_has_none_either() -> None:
    results = Place(root="elsewhere/", rows=False).check()
    assert (failed(results), warned(results)) == (set(), {DATA})


def test_a_root_without_data_is_a_warning_where_nobody_can_ask_milvus() -> None:
    def away() -> Milvus:
        raise MilvusUnavailable("does not answer")

    results = Place(root="elsewhere/").check(milvus=away)
    assert (failed(results), warned(results)) == ({"milvus"}, {DATA})
    assert results["milvus"].exit_code == 7


@pytest.mark.parametrize("root", ["files/", "elsewhere/"])
def test_the_bucket_is_never_listed_as_a_whole(root: str) -> None:
    place = Place(root=root)
    place.check()
    data, *collection, probe = lists(place, "milvus storage")
    assert data == f"{root}insert_log/"
    assert all(key.startswith(f"{root}insert_log/") and key != data for key in collection)
    assert probe.startswith(f"{root}mbk_check_")
    assert [key.startswith("backup/mbk_check_") for key in lists(place, "backup storage")] == [True]


# -- sides that are not there --------------------------------------------------------------------------------------


def test_a_backup_bucket_that_create_will_make_is_no_failure_and_is_not_made() -> None:
    place = Place()
    absent = MemoryStorage(place.backup.service, "not-yet", root="backup/")
    results = place.check(backup=lambda: absent)
    assert (failed(results), warned(results)) == (set(), {"backup storage"})
    assert "create makes it" in results["backup storage"].detail
    assert not set(COPIES) & results.keys()
    assert "not-yet" not in place.backup.service.buckets


def test_a_missing_bucket_of_milvus_is_a_failure() -> None:
    place = Place()
    results = place.check(storage=lambda: MemoryStorage(place.backup.service, "typo", root="files/"))
    assert failed(results) == {"milvus storage"}
    assert results["milvus storage"].exit_code == 4
    assert {f"backup storage: {operation}" for operation in OPERATIONS} <= results.keys()


@pytest.mark.parametrize("side", SIDES)
def test_a_side_that_cannot_be_reached_does_not_hide_the_other(side: str) -> None:
    place = Place()
    place.failing(side, lambda: AuthenticationFailed(f"{side}: wrong key"), "check")
    results = place.check()
    assert failed(results) == {side}
    assert results[side].exit_code == 6
    other = next(name for name in SIDES if name != side)
    assert {f"{other}: {operation}" for operation in OPERATIONS} <= results.keys()
    assert place.nothing_is_left()


# -- garbage collection --------------------------------------------------------------------------------------------


def test_a_pause_of_another_run_is_not_ended() -> None:
    place = Place()
    place.server.gc.pause(3600)
    place.check()
    assert [call for call, _ in place.server.calls if call == "resume_gc"] == []


@pytest.mark.parametrize("error", [Unsupported("404"), MilvusUnavailable("port 9091 does not answer")])
def test_a_pause_that_cannot_be_had_is_a_warning(error: MbkError) -> None:
    place = Place()

    def fault(call: str, _what: str) -> None:
        if call == "pause_gc":
            raise error

    place.server.fault = fault
    results = place.check()
    assert (failed(results), warned(results)) == (set(), {"milvus: pause garbage collection"})


# -- REST ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "said"),
    [(V2_4, "restores import over gRPC"), (V2_5, "backups list the bucket for the files of segments")],
    ids=["2.4", "2.5"],
)
@pytest.mark.parametrize(
    "error",
    [MilvusUnavailable("nobody answers"), Unsupported("404"), AuthenticationFailed("401")],
    ids=["away", "another server", "login"],
)
def test_a_rest_port_that_does_not_serve_is_a_warning_that_says_what_it_means(
    features: frozenset[Feature], said: str, error: MbkError
) -> None:
    place = Place(features=features)
    assert place.check()[REST].detail == "answers"

    def fault(call: str, _what: str) -> None:
        if call == "import_jobs":
            raise error

    place.server.fault = fault
    results = place.check()
    assert (failed(results), warned(results)) == (set(), {REST})
    assert results[REST].detail.startswith(error.message)
    assert said in results[REST].detail


def test_rest_that_refuses_the_question_is_there() -> None:
    place = Place(features=V2_5)

    def fault(call: str, _what: str) -> None:
        if call == "import_jobs":
            raise MilvusError("the quota is exhausted", server_code=9)

    place.server.fault = fault
    assert warned(place.check()) == set()


def test_a_milvus_that_imports_over_grpc_alone_is_not_asked_for_rest() -> None:
    assert REST not in Place().check()


def test_a_storage_that_lies_about_conditions_is_told() -> None:
    class Overwrites(MemoryStorage):
        def write_if_absent(
            self, key: str, chunks: Iterable[bytes], *, size: int | None = None
        ) -> ObjectInfo:
            return self.write(key, chunks, size=size)

    place = Place()
    results = place.check(backup=lambda: Overwrites(place.backup.service, "backups", root="backup/"))
    assert failed(results) == {"backup storage: conditional create"}
    assert "overwritten" in results["backup storage: conditional create"].detail
    assert place.nothing_is_left()


def test_a_busy_service_is_asked_again_when_it_is_cleaned_up() -> None:
    place = Place()
    place.failing("milvus storage", lambda: Throttled("slow down"), "clean", times=1)
    assert failed(place.check()) == set()
    assert place.nothing_is_left()


# -- for one command -----------------------------------------------------------------------------------------------

WRITING = ("write", "write_if_absent", "copy", "copy_part", "multipart", "complete", "delete", "clean")


def refusing_writes(place: Place, side: str) -> None:
    place.failing(side, lambda: PermissionDenied("read only"), *WRITING)


def with_a_backup(place: Place) -> Place:
    for size in (90, 7):
        place.backup.write(f"backup/nightly/binlogs/insert_log/1/2/3/3/4/{size}", [bytes(size)])
    place.before = place.objects()
    return place


@pytest.mark.parametrize(
    ("command", "read_only"),
    [("create", SIDES[0]), ("restore", SIDES[1]), ("verify", SIDES[1])],
)
def test_what_a_command_only_reads_may_be_read_only(command: str, read_only: str) -> None:
    place = with_a_backup(Place())
    assert failed(place.check()) == set()
    refusing_writes(place, read_only)
    assert f"{read_only}: write" in failed(place.check())
    results = place.check(command=command)
    assert failed(results) == set()
    assert results[f"{read_only}: read"].detail == "works"
    assert place.nothing_is_left()


@pytest.mark.parametrize(
    ("command", "written"), [("create", SIDES[1]), ("restore", SIDES[0]), ("delete", SIDES[1])]
)
def test_what_a_command_writes_must_be_written(command: str, written: str) -> None:
    place = with_a_backup(Place())
    refusing_writes(place, written)
    assert f"{written}: write" in failed(place.check(command=command))


def test_each_command_is_asked_for_its_own_needs() -> None:
    place = with_a_backup(Place())
    to_backups, to_milvus = COPIES
    asked = {
        command: [*place.check(command=command)] for command in ("create", "restore", "verify", "delete")
    }
    milvus = ["milvus", "milvus: list collections"]
    read, written = ("list", "read"), (*OPERATIONS, AFTERWARDS)
    deletes = [name for name in written if "copy" not in name]
    source = ["milvus storage", DATA, *(f"milvus storage: {name}" for name in read)]
    assert asked == {
        "create": [
            *milvus,
            "milvus: pause garbage collection",
            *source,
            "backup storage",
            *(f"backup storage: {name}" for name in written),
            to_backups,
        ],
        "restore": [
            *milvus,
            "milvus storage",
            DATA,
            *(f"milvus storage: {name}" for name in written),
            "backup storage",
            *(f"backup storage: {name}" for name in read),
            to_milvus,
        ],
        "verify": ["backup storage", *(f"backup storage: {name}" for name in (*read, "write"))],
        "delete": ["backup storage", *(f"backup storage: {name}" for name in deletes)],
    }


def test_a_copy_from_where_nothing_may_be_written_is_one_of_the_smallest_object_there() -> None:
    place = with_a_backup(Place())
    place.asked.clear()
    assert place.check(command="restore")[COPIES[1]].detail == "server side"
    assert place.check(command="create")[COPIES[0]].detail == "server side"
    read = {key for side, call, key in place.asked if (side, call) == (SIDES[1], "read")}
    assert {key for key in read if "nightly" in key} == {"backup/nightly/binlogs/insert_log/1/2/3/3/4/7"}
    assert place.nothing_is_left()


def test_where_nothing_is_to_be_read_yet_that_is_said() -> None:
    place = Place(rows=False)
    results = place.check(command="restore")
    assert failed(results) == set()
    assert {"backup storage: read", COPIES[1]} <= warned(results)
    assert "once there is something" in results["backup storage: read"].detail
    assert failed(place.check(command="create")) == set()


def test_a_result_that_cannot_be_kept_is_a_warning() -> None:
    place = with_a_backup(Place())
    refusing_writes(place, SIDES[1])
    results = place.check(command="verify")
    assert warned(results) == {"backup storage: write"}
    assert "results are not kept" in results["backup storage: write"].detail


@pytest.mark.parametrize("command", ["restore", "verify", "delete"])
def test_a_bucket_that_only_create_makes_must_be_there_for_the_others(command: str) -> None:
    place = Place()
    absent = MemoryStorage(place.backup.service, "not-yet", root="backup/")
    results = place.check(backup=lambda: absent, command=command)
    assert failed(results) == {"backup storage"}
    assert warned(place.check(backup=lambda: absent, command="create")) == {"backup storage"}


@pytest.mark.parametrize("command", ["verify", "delete"])
def test_what_needs_no_milvus_does_not_ask_it(command: str) -> None:
    def away() -> Milvus:
        raise MilvusUnavailable("does not answer")

    assert failed(with_a_backup(Place()).check(milvus=away, storage=_nothing, command=command)) == set()


def _nothing() -> Storage:
    raise StorageUnavailable("not to be opened")
