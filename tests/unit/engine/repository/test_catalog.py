from __future__ import annotations

import pytest

from mbk.engine.repository.catalog import delete_below
from mbk.engine.repository.view import incomplete, view
from mbk.engine.runtime.run import Run
from mbk.errors import (
    BackupNotFound,
    DeleteFailed,
    InvalidBackup,
    PermissionDenied,
    Throttled,
    UsageError,
)
from mbk.model.records import Database, Rbac, RbacUser
from tests.fakes.world import World
from tests.raising import raised


@pytest.fixture
def world() -> World:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    world.create()
    return world


# -- delete ------------------------------------------------------------------------------------------------------


def test_a_delete_takes_the_commit_mark_first_and_everything_after_it(world: World) -> None:
    gone: list[str] = []
    world.backup.fault = lambda operation, key: gone.append(key) if operation == "delete" else None
    count = len(world.backed_up)
    assert world.catalog().delete("nightly") == count
    assert gone[0] == "backup/nightly/meta/full_meta.json"
    assert not world.backed_up


def test_an_incomplete_backup_and_leftovers_of_another_tool_can_be_deleted(world: World) -> None:
    world.backup.write("backup/left/binlogs/insert_log/1/2/3/3/0/4", [b"x"])
    world.backup.write("backup/begun/meta/mbk.json", [b"{}"])
    assert world.catalog().delete("left") == 1
    assert world.catalog().delete("begun") == 1
    assert [item.name for item in world.catalog().summaries()] == ["nightly"]


def test_a_damaged_backup_can_be_deleted(world: World) -> None:
    world.backup.write("backup/nightly/meta/full_meta.json", [b"{"])
    world.catalog().delete("nightly")
    assert not world.backed_up


def test_what_is_no_backup_is_not_deleted(world: World) -> None:
    world.backup.write("backup/photos/cat.jpg", [b"x"])
    for name in ("photos", "nothing", "night"):
        with pytest.raises(BackupNotFound):
            world.catalog().delete(name)
    assert "backup/photos/cat.jpg" in world.backed_up


def test_an_empty_prefix_is_never_deleted(world: World) -> None:
    for prefix in ("", "/"):
        with raised(UsageError, "prefix-empty"):
            delete_below(world.backup, prefix, Run())
    assert world.backed_up


def test_a_delete_tries_again_what_can_pass_and_names_what_is_left(world: World) -> None:
    left = [3]

    def passing(operation: str, _key: str) -> None:
        if operation == "list" and left[0]:
            left[0] -= 1
            raise Throttled("slow down")

    world.backup.fault = passing
    count = len(world.backed_up)
    assert world.catalog().delete("nightly") == count

    world.create("other")

    def refusing(operation: str, key: str) -> None:
        if operation == "delete" and key.endswith("mbk.json"):
            raise PermissionDenied("locked")

    world.backup.fault = refusing
    with pytest.raises(DeleteFailed) as caught:
        world.catalog().delete("other")
    assert caught.value.failures == {"backup/other/meta/mbk.json": "locked"}


# -- get ---------------------------------------------------------------------------------------------------------


def test_the_brief_view_has_what_the_classic_tool_shows(world: World) -> None:
    shown = view(world.catalog(), "nightly")
    assert (shown["name"], shown["state_code"], shown["progress"], shown["state"]) == (
        "nightly",
        2,
        100,
        "complete",
    )
    assert shown["meta_size"] == sum(len(data) for key, data in world.backed_up.items() if "/meta/" in key)
    (collection,) = shown["collection_backups"]
    assert collection["collection_name"] == "docs"
    assert "partition_backups" not in collection
    (detailed,) = view(world.catalog(), "nightly", detail=True)["collection_backups"]
    assert detailed["partition_backups"][0]["segment_backups"][0]["num_of_rows"] == 6


def test_no_view_shows_a_secret(world: World) -> None:

    hashed, key = "$2a$10$hash", "zone-key"
    world.milvus.access.read = lambda: Rbac(users=[RbacUser(user="root", password=hashed)])
    world.milvus.inventory.databases = lambda: [Database(db_name="default", ezk=key)]
    world.create("secret", rbac=True)
    assert hashed in str(world.backed_up["backup/secret/meta/full_meta.json"])
    for detail in (False, True):
        shown = view(world.catalog(), "secret", detail=detail)
        assert hashed not in str(shown)
        assert key not in str(shown)
    backup = world.catalog().read("secret")
    assert hashed not in repr(backup)
    assert key not in repr(backup)


def test_an_incomplete_backup_can_be_looked_at_but_not_read(world: World) -> None:
    world.backup.write("backup/begun/meta/mbk.json", [b'{"id":"7","started":"2026-01-01T00:00:00+00:00"}'])
    assert incomplete(world.catalog(), "nightly") is None
    assert incomplete(world.catalog(), "nothing") is None
    shown = incomplete(world.catalog(), "begun")
    assert shown is not None
    assert (shown["state"], shown["id"]) == ("incomplete", "7")
    with raised(InvalidBackup, "backup-incomplete", backup="begun") as caught:
        view(world.catalog(), "begun")
    assert "--resume" in (caught.value.hint or "")
