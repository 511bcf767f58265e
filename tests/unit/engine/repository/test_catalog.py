from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mbk.engine.operations import create
from mbk.engine.repository.catalog import NAMES, STRETCH, Catalog, delete_below
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
from mbk.model.manifest import Verified, VerifiedResult
from mbk.model.options import CreateOptions
from mbk.model.records import Database, Rbac, RbacUser
from mbk.plugin.wrapper import StorageWrapper
from mbk_local.copying import CHUNK
from mbk_local.storage import LocalStorage
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
    assert world.delete("nightly").deleted_objects == count
    assert gone[0] == "backup/nightly/meta/full_meta.json"
    assert not world.backed_up


def test_an_incomplete_backup_can_be_deleted(world: World) -> None:
    world.backup.write("backup/begun/meta/mbk.json", [b'{"name":"begun"}'])
    assert world.delete("begun").deleted_objects == 1
    assert [item.name for item in world.catalog().summaries()] == ["nightly"]


def test_names_are_told_without_reading_a_file(world: World) -> None:
    world.backup.write("backup/begun/meta/mbk.json", [b'{"name":"begun"}'])
    world.backup.write("backup/old/meta/full_meta.json", [b"{"])
    world.backup.write("backup/photos/cat.jpg", [b"x"])
    names = [item.name for item in world.catalog().summaries()]
    calls: list[str] = []
    world.backup.fault = lambda operation, key: calls.append(operation)
    assert world.catalog().names() == names == ["begun", "nightly", "old"]
    assert set(calls) == {"list"}


def test_a_damaged_backup_can_be_deleted(world: World) -> None:
    world.backup.write("backup/nightly/meta/full_meta.json", [b"{"])
    world.delete("nightly")
    assert not world.backed_up


def test_what_is_no_backup_is_not_deleted(world: World) -> None:
    world.backup.write("backup/photos/cat.jpg", [b"x"])
    for name in ("photos", "nothing", "night"):
        with pytest.raises(BackupNotFound):
            world.delete(name)
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
    assert world.delete("nightly").deleted_objects == count

    world.create("other")

    def refusing(operation: str, key: str) -> None:
        if operation == "delete" and key.endswith("mbk.json"):
            raise PermissionDenied("locked")

    world.backup.fault = refusing
    with pytest.raises(DeleteFailed) as caught:
        world.delete("other")
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
    world.backup.write(
        "backup/begun/meta/mbk.json", [b'{"id":"7","name":"begun","started":"2026-01-01T00:00:00+00:00"}']
    )
    assert incomplete(world.catalog(), "nightly") is None
    assert incomplete(world.catalog(), "nothing") is None
    shown = incomplete(world.catalog(), "begun")
    assert shown is not None
    assert (shown["state"], shown["id"]) == ("incomplete", "7")
    with raised(InvalidBackup, "backup-incomplete", backup="begun") as caught:
        view(world.catalog(), "begun")
    assert "--resume" in (caught.value.hint or "")


class _Plain(StorageWrapper):
    """Without any ability of what it wraps, and so with a request for each file."""

    wrapped = property()


def test_a_directory_that_is_glanced_at_tells_the_same_as_one_request_a_file(
    world: World, tmp_path: Path
) -> None:
    world.create("damaged")
    world.create("verified")
    subject = world.catalog().read_manifest("verified").commit
    result = VerifiedResult(at="2026-11-30T00:00:00+00:00", depth="listing")
    verified = Verified(subject=subject, results=[result])
    world.backup.write("backup/verified/meta/verified.json", [msgspec.json.encode(verified)])
    directory = LocalStorage(tmp_path)
    for info in world.backup.list("backup/"):
        with world.backup.read(info.key) as chunks:
            directory.write(info.key.removeprefix("backup/"), [*chunks])
    for name, data in {
        "begun/meta/mbk.json": b'{"name":"begun"}',
        "copied/meta/mbk.json": b'{"name":"nightly"}',
        "damaged/meta/mbk.json": b'{"version":1}',
        "large/meta/backup_meta.json": b'{"size":7}' + bytes([32]) * CHUNK,
        "large/meta/full_meta.json": b"{}",
        "old/meta/full_meta.json": b'{"size":5}',
        "photos/cat.jpg": b"x",
        "torn/meta/full_meta.json": b"{",
    }.items():
        directory.write(name, [data])
    for number in range(STRETCH * NAMES):
        directory.write(f"z{number:04}/meta/full_meta.json", [b"{}"])
    told = [*Catalog(directory, Run()).summaries()]
    assert told == [*Catalog(_Plain(directory), Run()).summaries()]
    states = [f"{item.name} {item.state}" for item in told if item.name[0] != "z"]
    assert states == [
        "begun incomplete",
        "damaged unreadable",
        "large complete",
        "nightly complete",
        "old complete",
        "torn unreadable",
        "verified complete",
    ]
    assert [item.size for item in told if item.name in ("large", "old")] == [7, 5]
    assert [item.name for item in told if item.verified] == ["verified"]


def test_empty_directories_are_nothing(tmp_path: Path) -> None:
    """As a file system keeps them after objects were removed by other means."""
    for directory in ("nightly/meta", "nightly/binlogs/insert_log/1", "other"):
        (tmp_path / directory).mkdir(parents=True)
    catalog = Catalog(LocalStorage(tmp_path), Run())
    assert list(catalog.summaries()) == []
    assert not catalog.is_taken("nightly")
    catalog.require_free("nightly")
    with raised(BackupNotFound, "backup-missing"):
        catalog.require("nightly")


@pytest.mark.parametrize(("rbac", "rights"), [(True, 0o600), (False, 0o644)])
def test_hashes_of_passwords_in_a_directory_are_for_its_owner_alone(
    rbac: bool, rights: int, world: World, tmp_path: Path
) -> None:
    world.milvus.access.read = lambda: Rbac(users=[RbacUser(user="root", password="$2a$10$hash")])
    context = replace(world.context(), backup_storage=LocalStorage(tmp_path))
    before = os.umask(0o022)
    try:
        with context.run.command("create", "nightly"):
            create.execute(context, "nightly", CreateOptions(rbac=rbac))
    finally:
        os.umask(before)
    found = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "nightly/meta").iterdir()}
    assert {found[name] for name in ("full_meta.json", "backup_meta.json")} == {rights}
