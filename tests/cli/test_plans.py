"""Dry runs and runs of what needs no Milvus, on a real directory: the plan says what the run then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mbk.testing import MemoryStorage
from tests.cli.conftest import Run
from tests.fixtures.backups.builder import OldBackup


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    """A directory with the backup ``old``, and a configuration ``backup.yaml`` that names it."""
    storage = MemoryStorage()
    made = OldBackup(storage)
    made.segment(1, range(3))
    made.commit()
    for item in storage.list("backup/"):
        path = tmp_path / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with storage.read(item.key) as chunks:
            path.write_bytes(b"".join(chunks))
    place = tmp_path / "backup"
    config = f"minio:\n  storageType: local\n  rootPath: {tmp_path}/milvus\n  backupRootPath: {place}\n"
    Path("backup.yaml").write_text(config, encoding="utf-8")
    return place


def files(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): path.stat().st_size
        for path in directory.rglob("*")
        if path.is_file()
    }


def plan(run: Run, *words: str) -> Any:
    result = run("-o", "json", *words, "--dry-run")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_a_deletion_is_planned_with_everything_that_goes(run: Run, backups: Path) -> None:
    before = files(backups)
    told = plan(run, "delete", "old")
    assert files(backups) == before
    assert (told["objects"], told["size"]) == (len(before), sum(before.values()))
    assert f"deleted old: {told['objects']} objects" in run("delete", "old", "--yes").out
    assert files(backups) == {}


def test_a_copy_is_planned_and_made(run: Run, backups: Path) -> None:
    before, target = files(backups), backups.parent / "elsewhere"
    told = plan(run, "copy", "old", "--path", str(target))
    assert not target.exists()
    assert (told["objects"], told["size"]) == (len(before), sum(before.values()))
    assert str(target) in told["target"]
    assert run("copy", "old", "--path", str(target)).code == 0
    assert files(target).keys() >= before.keys()
    assert run("copy", "old", "--path", str(target)).code == 5
    assert run("copy", "old", "--path", str(target), "--dry-run").code == 5


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("delete", "none"), 4),
        (("copy", "none", "--path", "x"), 4),
        (("l0compact", "none"), 4),
        (("l0compact", "old", "-o", "old"), 2),
        (("migrate", "old", "--cluster-id", "c"), 2),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(
    words: tuple[str, ...], code: int, run: Run, backups: Path
) -> None:
    before = files(backups)
    dry, real = run(*words, "--dry-run"), run(*words, *(["--yes"] if words[0] == "delete" else []))
    assert (dry.code, real.code) == (code, code)
    assert dry.err == real.err
    assert files(backups) == before
