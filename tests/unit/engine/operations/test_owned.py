"""A backup is what its own metadata says: what lies below a prefix without it is somebody else's, and never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mbk.engine.operations import copy, delete
from mbk.engine.repository.surroundings import require_room
from mbk.engine.repository.view import view
from mbk.engine.runtime.context import CopyContext
from mbk.errors import (
    AuthenticationFailed,
    BackupExists,
    BackupNotFound,
    DeleteFailed,
    InvalidName,
    MbkError,
    ObjectArchived,
    PermissionDenied,
    StorageUnavailable,
    Unsupported,
    UsageError,
)
from mbk.model.options import CopyOptions, DeleteOptions
from mbk.model.states import BackupState
from mbk.ports.storage import Location
from mbk.testing import MemoryStorage
from tests.fakes.world import World
from tests.raising import raised

OF_MILVUS = [
    "insert_log",
    "delta_log",
    "stats_log",
    "index_files",
    "bm25_stats",
    "text_log",
    "json_key_index_log",
    "json_stats",
    "analyze_stats",
    "snapshots",
]

#: Below ``backup/NAME/``: what lies in shared buckets, and none of it is a backup.
FOREIGN = {
    "photos": ["cat.jpg", "2024/dog.jpg"],
    "a project with meta": ["meta/config.json", "src/main.py"],
    "a manifest of another kind": ["meta/mbk.json"],
    "binlogs alone": ["binlogs/insert_log/1/2/3/3/0/4", "binlogs/delta_log/1/2/3/3/5"],
    "milvus' insert logs": ["1/2/3/0/4"],
    "a whole milvus": ["insert_log/1/2/3/0/4", "delta_log/1/2/3/4"],
    "a bundle alone": ["bundle/metadata.json"],
    "near misses": [
        "meta/backup_meta.json.bak",
        "meta/x/full_meta.json",
        "full_meta.json",
        "metadata/full_meta.json",
    ],
}


@pytest.fixture
def world() -> World:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    return world


def lay(world: World, name: str, keys: Iterable[str]) -> dict[str, bytes]:
    """Objects below ``backup/NAME/``; all objects beside Milvus' own."""
    for key in keys:
        data = b'{"name":"somebody","version":3}' if key.endswith(".json") else b"x"
        world.backup.write(f"{world.backup.location.root}{name}/{key}", [data])
    return world.backed_up


def states(world: World) -> dict[str, str]:
    return {summary.name: summary.state for summary in world.catalog().summaries()}


@pytest.mark.parametrize("keys", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_prefix_is_not_listed_not_adopted_and_not_deleted(world: World, keys: list[str]) -> None:
    before = lay(world, "theirs", keys)
    assert states(world) == {}
    with raised(BackupNotFound, "not-a-backup", prefix="backup/theirs/"):
        world.delete("theirs")
    with raised(BackupExists, "prefix-not-empty", prefix="backup/theirs/") as caught:
        world.create("theirs")
    assert "delete" not in str(caught.value)
    assert "resume" not in str(caught.value)
    with raised(BackupNotFound, "backup-not-begun"):
        world.create("theirs", resume=True)
    with pytest.raises(BackupNotFound):
        world.restore("theirs", suffix="_back")
    assert world.backed_up == before


@pytest.mark.parametrize("root", ["files/", "files"])
@pytest.mark.parametrize("name", OF_MILVUS)
def test_in_milvus_own_root_no_backup_is_called_like_a_directory_of_milvus(name: str, root: str) -> None:
    """A classic file without backupRootPath: the worst loss that was found."""
    world = World(same=True, backup_root="files/")
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    milvus = world.objects("milvus")
    for resume in (False, True):
        with raised(InvalidName, "backup-name-of-milvus", name=name):
            world.create(name, resume=resume)
        with raised(InvalidName, "backup-name-of-milvus", name=name):
            world.create(name, resume=resume, dry_run=True)
    with pytest.raises(BackupNotFound):
        world.delete(name)
    with pytest.raises(BackupNotFound):
        world.delete(name, remnants=True)
    assert states(world) == {}
    assert world.objects("milvus") == milvus
    world.create("nightly")
    assert "root-shared-with-milvus" in world.notices
    world.delete("nightly")
    assert world.objects("milvus") == milvus


def place(root: str, *, bucket: str = "b", mount: bool = False) -> Location:
    if mount:
        return Location(backend="local", endpoint="", bucket=root, mount=f"{root}/")
    return Location(backend="s3", endpoint="h:9000", bucket=bucket, root=root)


@pytest.mark.parametrize(
    ("name", "backups", "milvus", "code"),
    [
        ("insert_log", place("files/"), place("files/"), "backup-name-of-milvus"),
        ("json_of_tomorrow", place("files/"), place("files/"), "backup-name-of-milvus"),
        ("files", place(""), place("files/"), "backup-name-of-milvus"),
        ("insert_log", place(""), place("files/"), "backup-name-of-milvus"),
        ("b", place("a/"), place("a/b/files/"), "backup-name-of-milvus"),
        ("nightly", place("files/insert_log/"), place("files/"), "backups-inside-milvus"),
        ("nightly", place("delta_log/x/"), place(""), "backups-inside-milvus"),
        ("data", place("/v", mount=True), place("/v/data", mount=True), "backup-name-of-milvus"),
        ("delta_log", place("/v/data", mount=True), place("/v/data", mount=True), "backup-name-of-milvus"),
        ("n", place("/v/data/stats_log", mount=True), place("/v/data", mount=True), "backups-inside-milvus"),
        ("insert_log", place("backup/"), place("files/"), ""),
        ("insert_log", place("files/backup/"), place("files/"), ""),
        ("insert_log", place("files/", bucket="other"), place("files/"), ""),
        ("nightly", place("files/"), place("files/"), ""),
        ("file", place(""), place("files/"), ""),
        ("insert_log", place("/w", mount=True), place("/v/data", mount=True), ""),
        ("n", place("/v/data-backup", mount=True), place("/v/data", mount=True), ""),
    ],
)
def test_which_names_and_roots_would_lie_in_milvus_data(
    name: str, backups: Location, milvus: Location, code: str
) -> None:
    if not code:
        require_room(name, backups, milvus)
        return
    with raised(UsageError, code):
        require_room(name, backups, milvus)
    require_room(name, backups, None)


def test_no_copy_and_no_compaction_goes_where_milvus_keeps_its_data(world: World) -> None:
    world.create("snapshots")
    target = MemoryStorage(world.service, "milvus", root="files/")
    context = CopyContext(
        run=world.run(), backup_storage=world.backup, target=target, milvus_place=world.storage.location
    )
    options = CopyOptions(path="files", bucket="milvus")
    for step in (copy.plan, copy.execute):
        with raised(InvalidName, "backup-name-of-milvus", name="snapshots"):
            step(context, "snapshots", options)
    assert not world.objects("milvus", "files/snapshots/")


def test_a_delete_takes_what_belongs_to_the_backup_and_names_the_rest(world: World) -> None:
    lay(world, "nightly", ["notes.txt", "binlogs/README", "binlogs/insert_log/x/y", "old/full_meta.json"])
    others = world.backed_up
    for key in others:
        world.backup.delete([key])
    world.create()
    count = len(world.backed_up)
    for key, data in others.items():
        world.backup.write(key, [data])
    report = world.delete()
    assert (report.deleted_objects, report.others) == (count, 4)
    assert world.backed_up == others
    assert "others-left" in world.notices
    assert states(world) == {}
    with raised(BackupNotFound, "not-a-backup"):
        world.delete()


def test_what_the_classic_tool_left_without_metadata_is_deleted_when_that_is_asked_for(world: World) -> None:
    own = ["binlogs/insert_log/1/2/3/3/0/4", "binlogs/insert_log/1/2/3/0/4", "binlogs/delta_log/1/-1/3/4"]
    lay(world, "old", [*own, "binlogs/insert_log/readme", "bundle/x", "photo.jpg"])
    with raised(BackupNotFound, "not-a-backup"):
        world.delete("old")
    assert world.delete("old", remnants=True).deleted_objects == 3
    assert sorted(world.backed_up) == [
        "backup/old/binlogs/insert_log/readme", "backup/old/bundle/x", "backup/old/photo.jpg",
    ]  # fmt: skip
    with raised(BackupNotFound):
        world.delete("old", remnants=True)


def test_remnants_are_never_milvus_own_data() -> None:
    """Milvus' root path may look like the data of a backup."""
    world = World(same=True, backup_root="")
    world.storage = MemoryStorage(world.service, "milvus", root="old/binlogs/")
    world.storage.write("old/binlogs/insert_log/1/2/3/0/4", [b"x"])
    with raised(InvalidName, "backup-around-milvus", name="old"):
        world.delete("old", remnants=True)
    assert world.objects("milvus", "old/")


@pytest.mark.parametrize("lost", ["", "full_meta.json", "insert_log", "mbk.json"])
def test_a_delete_that_the_storage_only_confirms_is_found_out(world: World, lost: str) -> None:
    world.create()
    remove = world.backup.remove

    def forgetful(key: str) -> None:
        if lost not in key or ".mbk/" in key:
            remove(key)

    world.backup.remove = forgetful  # type: ignore[method-assign]  # the service says yes and does nothing
    with raised(DeleteFailed, "objects-left", backup="nightly") as caught:
        world.delete()
    assert caught.value.exit_code == 1
    assert isinstance(caught.value, DeleteFailed)
    assert all(lost in key for key in caught.value.failures)
    if lost in ("", "full_meta.json"):
        assert "binlogs" in str(world.backed_up), "no data is deleted before the commit mark is gone"
    world.backup.remove = remove  # type: ignore[method-assign]  # it works again
    world.delete()
    assert not world.backed_up


def as_of_the_classic_tool(world: World) -> None:
    for key in world.backed_up:
        if key.endswith("mbk.json") or "/objects-" in key:
            world.backup.delete([key])


@pytest.mark.parametrize(
    "files",
    [
        ("full_meta.json",),
        ("full_meta.json", "backup_meta.json"),
        ("backup_meta.json", "collection_meta.json"),
    ],
)
def test_a_backup_of_which_metadata_is_lost_is_deleted_whole(world: World, files: tuple[str, ...]) -> None:
    world.create()
    as_of_the_classic_tool(world)
    for key in world.backed_up:
        if "/meta/" in key and not key.endswith(files):
            world.backup.delete([key])
    world.delete()
    assert not world.backed_up


@pytest.mark.parametrize("classic", [False, True])
def test_what_a_broken_off_delete_leaves_is_still_known_as_a_backup(world: World, classic: bool) -> None:
    world.create()
    if classic:
        as_of_the_classic_tool(world)
    left = [0]

    def failing(operation: str, key: str) -> None:
        if operation == "delete" and ".mbk/" not in key:
            left[0] -= 1
            if left[0] < 0:
                raise PermissionDenied("no more")

    world.backup.fault = failing
    for allowed in range(1, len(world.backed_up)):
        left[0] = 1
        with pytest.raises(DeleteFailed):
            world.delete()
        assert list(states(world)) == ["nightly"], allowed
    left[0] = 1
    world.delete()
    assert not world.backed_up


def test_a_broken_off_delete_of_a_backup_without_a_manifest_says_how_to_go_on(world: World) -> None:
    world.create()
    for key in world.backed_up:
        if "/meta/" in key and not key.endswith("full_meta.json"):
            world.backup.delete([key])

    def failing(operation: str, key: str) -> None:
        if operation == "delete" and "/binlogs/" in key:
            raise PermissionDenied("not these")

    world.backup.fault = failing
    with pytest.raises(DeleteFailed):
        world.delete()
    [summary] = world.catalog().summaries()
    assert (summary.state, "mbk delete -n nightly" in (summary.reason or "")) == (
        BackupState.INCOMPLETE,
        True,
    )
    world.backup.fault = lambda _operation, _key: None
    world.delete()
    assert not world.backed_up


def test_a_name_is_free_when_only_common_prefixes_are_left(world: World) -> None:
    """As a versioned bucket shows those of which only marks of deletion are left."""

    class Haunted(MemoryStorage):
        def list_level(self, prefix: str = "") -> Any:
            level = super().list_level(prefix)
            ghosts = {
                "backup/": ("backup/gone/",),
                "backup/gone/": ("backup/gone/meta/", "backup/gone/binlogs/"),
            }
            return type(level)(objects=level.objects, prefixes=(*level.prefixes, *ghosts.get(prefix, ())))

    world.backup = Haunted(world.service, "backups", root="backup/")
    assert states(world) == {}
    with raised(BackupNotFound, "backup-missing"):
        world.delete("gone")
    world.create("gone")
    assert states(world) == {"gone": "complete"}


# -- one entry never spoils the listing --------------------------------------------------------------------------------


def spoiled(error: MbkError) -> Callable[[World], None]:
    def spoil(world: World) -> None:
        def fault(operation: str, key: str) -> None:
            if operation == "read" and key.startswith("backup/bad/"):
                raise error

        world.backup.fault = fault

    return spoil


def unlistable(world: World) -> None:
    def fault(operation: str, key: str) -> None:
        if operation == "list" and key.startswith(("backup/bad/", "backup/lost+found/")):
            raise PermissionDenied("forbidden")

    world.backup.write("backup/lost+found/x", [b"x"])
    world.backup.fault = fault


def written(file: str, data: bytes) -> Callable[[World], None]:
    def write(world: World) -> None:
        world.backup.write(f"backup/bad/meta/{file}", [data])

    return write


SPOILERS = {
    "forbidden": spoiled(PermissionDenied("forbidden")),
    "archived": spoiled(ObjectArchived("archived")),
    "a disk that fails": spoiled(StorageUnavailable("500 for ever")),
    "unlistable": unlistable,
    **{
        f"{file} {what}": written(file, data)
        for file in ("backup_meta.json", "mbk.json")
        for what, data in {
            "7 x": b"7 x",
            "deep": b"[" * 100_000,
            "deep unknown": b'{"x":' + b"[" * 100_000,
            "empty": b"",
            "binary": b"\xff\x00",
            "number": b'{"name":[],"version":' + b"9" * 5000 + b"}",
        }.items()
    },
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
@pytest.mark.parametrize("classic", [False, True])
def test_one_unreadable_backup_does_not_spoil_the_listing(
    world: World, spoil: Callable[[World], None], classic: bool
) -> None:
    world.create("bad")
    if classic:
        as_of_the_classic_tool(world)
    world.create("good")
    spoil(world)
    found = {summary.name: summary for summary in world.catalog().summaries()}
    assert {name: str(item.state) for name, item in found.items()} == {
        "bad": "unreadable",
        "good": "complete",
    }
    assert found["bad"].reason
    with pytest.raises(MbkError):
        view(world.catalog(), "bad")
    world.backup.fault = lambda _operation, _key: None
    world.delete("bad")
    assert states(world) == {"good": "complete"}


@pytest.mark.parametrize("error", [StorageUnavailable("down"), AuthenticationFailed("expired")])
def test_a_storage_that_is_down_is_no_list_of_unreadable_backups(world: World, error: MbkError) -> None:
    world.create("one")
    world.create("two")

    def fault(operation: str, key: str) -> None:
        if operation in ("list", "read") and key != "backup/":
            raise error

    world.backup.fault = fault
    with pytest.raises(type(error)):
        list(world.catalog().summaries())


def test_a_damaged_manifest_of_an_incomplete_backup_is_told_and_can_be_deleted(world: World) -> None:
    lay(world, "begun", ["binlogs/insert_log/1/2/3/3/0/4"])
    world.backup.write("backup/begun/meta/mbk.json", [b'{"name":"begun","id'])
    assert states(world) == {"begun": "unreadable"}
    for resume in (False, True):
        with raised(BackupExists, "backup-exists-damaged", backup="begun"):
            world.create("begun", resume=resume)
    world.delete("begun")
    assert not world.backed_up


def test_a_plan_of_a_delete_says_what_goes_and_what_stays(world: World) -> None:
    world.create()
    count = len(world.backed_up)
    lay(world, "nightly", ["notes.txt"])
    context = world.context()
    plan = delete.preview(context, delete.plan(context, "nightly", DeleteOptions()))
    assert (plan.objects, len(plan.notices)) == (count, 1)
    assert "backup/nightly/notes.txt" in plan.notices[0]


def test_uploads_that_cannot_be_looked_for_do_not_decide_the_result(world: World) -> None:
    world.create()

    def fault(operation: str, _key: str) -> None:
        if operation == "clean":
            raise PermissionDenied("ListMultipartUploads is not allowed")

    world.backup.fault = world.storage.fault = fault
    world.restore(suffix="_back")
    assert not world.staged
    assert world.notices.count("not-cleaned") >= 1
    world.delete()
    assert not world.backed_up
    assert "not-cleaned" in world.notices
    world.create()


# -- versioned buckets -------------------------------------------------------------------------------------------------


@pytest.fixture
def versioned(world: World) -> World:
    world.service.buckets["backups"].versioned = True
    return world


def old(world: World) -> set[str]:
    return {version.key for version in world.service.buckets["backups"].old if ".mbk/" not in version.key}


def test_after_a_delete_versions_remain_and_that_is_told(versioned: World) -> None:
    versioned.create()
    keys = {*versioned.backed_up}
    assert versioned.delete().deleted_versions == 0
    assert "versions-remain" in versioned.notices
    assert keys <= old(versioned)
    assert states(versioned) == {}
    versioned.create()
    assert states(versioned) == {"nightly": "complete"}


def test_versions_go_when_that_is_asked_for_and_no_others(versioned: World) -> None:
    versioned.create("other")
    versioned.delete("other")
    versioned.create()
    lay(versioned, "nightly", ["notes.txt"])
    lay(versioned, "nightly", ["notes.txt"])
    others = {key for key in old(versioned) if "/other/" in key}
    report = versioned.delete(versions=True)
    assert report.deleted_versions > report.deleted_objects
    assert old(versioned) == others | {"backup/nightly/notes.txt"}
    assert "versions-remain" not in versioned.notices[-1:]
    assert versioned.delete("other", versions=True).deleted_objects == 0
    assert old(versioned) == {"backup/nightly/notes.txt"}
    with pytest.raises(BackupNotFound):
        versioned.delete("other", versions=True)


@pytest.mark.parametrize("call", ["versions", "delete_versions"])
@pytest.mark.parametrize("deleted", [False, True], ids=["a backup", "a deleted backup"])
def test_old_versions_go_although_each_call_fails_for_a_moment(
    call: str, deleted: bool, versioned: World
) -> None:
    versioned.create()
    if deleted:
        versioned.delete()
    failed = False

    def fault(operation: str, _key: str) -> None:
        nonlocal failed
        failed = not failed and operation == call
        if failed:
            raise StorageUnavailable("the service is busy")

    versioned.backup.fault = fault
    versioned.delete(versions=True)
    assert old(versioned) == set()


def test_versions_of_what_is_no_backup_stay(versioned: World) -> None:
    for _ in range(2):
        lay(versioned, "photos", ["cat.jpg", "binlogs/insert_log/1/2/3/3/0/4"])
    before = old(versioned)
    with raised(BackupNotFound):
        versioned.delete("photos", versions=True)
    assert old(versioned) == before


def test_a_storage_without_versions_says_so_before_anything_is_deleted(world: World) -> None:
    world.create()
    before = world.backed_up

    def fault(operation: str, _key: str) -> None:
        if operation == "versions":
            raise Unsupported("it knows none")

    world.backup.fault = fault
    with raised(Unsupported):
        world.delete(versions=True)
    assert world.backed_up == before
    world.delete()
    assert not world.backed_up
    assert "versions-remain" not in world.notices
