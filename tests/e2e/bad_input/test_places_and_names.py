"""What a user meets whose storage or names are wrong: one line, and nothing lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import data
from tests.e2e.bad_input.place import GOOD, Make, Place
from tests.e2e.data import Clients, assert_same
from tests.e2e.site import Tree, local_storage, s3_storage
from tests.servers.s3 import S3Server


def wrong_storage(kind: str, keeper: S3Server, tmp_path: Path) -> Tree:
    if kind == "directory":
        (tmp_path / "elsewhere").mkdir()
        return local_storage(tmp_path / "elsewhere")
    tree = s3_storage(keeper, {"bucket": "nowhere"}.get(kind, "empty"), "files")
    if kind == "secret":
        tree["auth"]["secretAccessKey"] = "wrong-and-still-a-secret"
    return tree


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("directory", 2, ["elsewhere", "rootPath", "bucketName"]),
        ("root", 2, ["empty", "rootPath", "bucketName"]),
        ("bucket", 4, ["nowhere"]),
        ("secret", 6, ["empty", "secret"]),
    ],
)
def test_a_storage_that_is_not_milvus_own_is_told_and_the_right_one_goes_on(
    kind: str, code: int, words: list[str], make: Make, keeper: S3Server, tmp_path: Path
) -> None:
    wrong = make(wrong_storage(kind, keeper, tmp_path), local_storage(tmp_path / "backups"))
    name = f"wrong_{kind}"
    line = wrong.shell.complaint(*wrong.create(name), code=code)
    assert all(word in line for word in words), line
    make().assert_can_be_finished(name)


def test_a_restore_into_a_storage_that_is_not_milvus_own_leaves_no_collection(
    make: Make, good: Path, tmp_path: Path, keeper: S3Server
) -> None:
    for kind, code in (("root", 8), ("bucket", 4), ("secret", 6)):
        wrong = make(wrong_storage(kind, keeper, tmp_path), local_storage(good))
        wrong.shell.complaint(*wrong.restore(GOOD, "_astray"), code=code)
        wrong.assert_nothing_of("_astray")
        assert data.keys_below(keeper, "empty", "") == []


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_taken_name_is_refused_and_its_backup_stays(place: Place) -> None:
    place.shell.run(*place.create("taken"))
    before = place.shell.json("list")
    line = place.shell.complaint(*place.create("taken"), code=5)
    assert "'taken' already exists" in line
    assert place.shell.json("list") == before
    place.assert_restores("taken", "_taken")


def test_a_restore_of_what_is_not_there_is_told(make: Make, good: Path) -> None:
    place = make(backup=local_storage(good))
    line = place.shell.complaint(*place.restore("goood", "_back"), code=4)
    assert "'goood'" in line
    assert "mbk list" in line


def test_a_collection_dropped_during_the_run_is_skipped_and_told(
    make: Make, clients: Clients, fresh: str
) -> None:
    kept, dropped = (data.plain(clients, fresh, name, rows=50) for name in ("a_kept", "b_dropped"))
    place = make(backup_settings={"concurrency": {"collections": 1}})
    command = place.shell.start("create", "-n", "dropped", "--filter", f"{fresh}.*")
    command.until(rf"phase='flush' collection='{kept}'")
    dropped.client.drop_collection(dropped.name)
    _, err = command.end(0)
    assert f"{dropped}: dropped during the backup" in err
    seen = place.shell.json("get", "-n", "dropped")
    assert [item["collection_name"] for item in seen["collection_backups"]] == ["a_kept"]
    place.shell.run("restore", "-n", "dropped", "-s", "_back", "--rebuild_index")
    assert_same(kept, kept.moved("a_kept_back"))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with too little room for the backup of ``docs``."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    if os.geteuid() != 0 or not mount(mounted, "size=40k"):
        pytest.skip("a small file system cannot be mounted here")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def mount(where: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_is_told_and_the_backup_goes_on_when_there_is_room(make: Make, small: Path) -> None:
    place = make(backup=local_storage(small / "backups"))
    line = place.shell.complaint(*place.create("full"), code=1)
    assert "free some space" in line
    assert str(small) in line
    mount(small, "remount,size=64m")
    assert place.shell.states() == {"full": "incomplete"}
    place.assert_can_be_finished("full")
    place.assert_restores("full", "_full")
