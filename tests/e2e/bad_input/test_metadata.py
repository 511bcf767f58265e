"""Backups whose metadata or objects are damaged: one line, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bad_input.place import GOOD, Make
from tests.e2e.site import local_storage


def truncate(file: str) -> Callable[[Path], None]:
    return lambda meta: os.truncate(meta / file, (meta / file).stat().st_size // 2)


def retype(file: str, **wrong: Any) -> Callable[[Path], None]:
    def damage(meta: Path) -> None:
        tree = json.loads((meta / file).read_bytes())
        (meta / file).write_text(json.dumps(tree | wrong), encoding="utf-8")

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        truncate("full_meta.json"),
        lambda meta: (meta / "full_meta.json").write_bytes(b""),
        lambda meta: (meta / "full_meta.json").write_bytes(b"\x00" * 500),
        lambda meta: (meta / "full_meta.json").write_bytes(b"[]"),
        retype("full_meta.json", collection_backups={"a": 1}),
        retype("full_meta.json", size="large"),
        retype("full_meta.json", collection_backups=[{"collection_id": "many"}]),
    ],
    ids=["truncated", "empty", "zeros", "list", "collections", "size", "id"],
)
def test_a_backup_with_damaged_metadata_is_told_and_can_be_deleted(
    damage: Callable[[Path], None], make: Make, good: Path, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    for name in ("damaged", GOOD):
        shutil.copytree(good / GOOD, backups / name)
    damage(backups / "damaged" / "meta")
    place = make(backup=local_storage(backups))
    for command in (("get", "-n", "damaged"), place.restore("damaged", "_damaged")):
        assert "damaged/meta/full_meta.json" in place.shell.complaint(*command, code=8)
    place.assert_nothing_of("_damaged")
    assert place.shell.states()[GOOD] == "complete"
    place.shell.run("delete", "-n", "damaged", "--yes")
    assert place.shell.states() == {GOOD: "complete"}


def test_a_listing_names_the_backup_that_it_cannot_read(make: Make, good: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    for name in ("damaged", GOOD):
        shutil.copytree(good / GOOD, backups / name)
    truncate("backup_meta.json")(backups / "damaged" / "meta")
    assert make(backup=local_storage(backups)).shell.states() == {"damaged": "unreadable", GOOD: "complete"}


def test_a_damaged_file_of_mbks_own_is_told_by_everything_that_reads_the_backup(
    make: Make, good: Path, tmp_path: Path
) -> None:
    shutil.copytree(good / GOOD, tmp_path / "backups" / GOOD)
    truncate("mbk.json")(tmp_path / "backups" / GOOD / "meta")
    place = make()
    assert place.shell.states() == {GOOD: "unreadable"}
    for command in (("get", "-n", GOOD), place.restore(GOOD, "_damaged")):
        assert "meta/mbk.json" in place.shell.complaint(*command, code=8)
    place.assert_nothing_of("_damaged")


def test_a_backup_without_full_meta_is_incomplete_everywhere(make: Make, good: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    for name in ("first", "second"):
        shutil.copytree(good / GOOD, backups / name)
        (backups / name / "meta" / "full_meta.json").unlink()
    place = make()
    assert place.shell.states() == {"first": "incomplete", "second": "incomplete"}
    assert place.shell.json("get", "-n", "first")["state"] == "incomplete"
    assert "incomplete" in place.shell.complaint(*place.restore("first", "_half"), code=1)
    place.assert_nothing_of("_half")
    line = place.shell.complaint(*place.create("first"), code=5)
    assert "create -n first --resume" in line
    assert "delete -n first" in line
    place.shell.run("delete", "-n", "second", "--yes")
    place.assert_can_be_finished("first")


def test_a_backup_that_lost_an_object_is_told_before_the_first_change(
    make: Make, good: Path, tmp_path: Path
) -> None:
    shutil.copytree(good / GOOD, tmp_path / "backups" / GOOD)
    shutil.rmtree(next((tmp_path / "backups" / GOOD).glob("binlogs/insert_log/*/*/*")))
    place = make()
    assert "insert_log" in place.shell.complaint(*place.restore(GOOD, "_lost"), code=8)
    place.assert_nothing_of("_lost")
