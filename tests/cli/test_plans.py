"""Dry runs and runs of what needs no Milvus, on a real directory: the plan says what the run then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.shell import said_in


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
    again = plan(run, "copy", "old", "--path", str(target))
    assert (again["objects"], again["present"], again["present_size"]) == (
        0,
        len(before),
        sum(before.values()),
    )
    assert "already there" in run("cp", "old", "--path", str(target)).out
    assert run("cp", "old", f"{target}/").out.count("already there") == 1


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
    assert said_in(dry.err) == said_in(real.err)
    assert files(backups) == before


LOCK = ("--set", "backup.objectLock.mode=governance", "--set", "backup.objectLock.days=7")


@pytest.mark.parametrize("dry", [True, False])
def test_a_copy_that_is_to_be_locked_goes_only_where_things_can_be_locked(
    run: Run, backups: Path, monkeypatch: pytest.MonkeyPatch, dry: bool
) -> None:
    (vault := backups.parent / "vault").mkdir()
    for name, value in (("STORAGE_TYPE", "local"), ("ROOT_PATH", str(vault)), ("OBJECT_LOCK_DAYS", "7")):
        monkeypatch.setenv(f"MBK_PROFILE_VAULT_{name}", value)
    words = ("cp", "old", "vault@", *(["--dry-run"] if dry else []))
    assert "profiles.vault.objectLock has no mode" in run(*words).err
    monkeypatch.setenv("MBK_PROFILE_VAULT_OBJECT_LOCK_MODE", "governance")
    refused = run(*words)
    assert "cannot lock objects" in refused.err
    assert refused.code != 0
    assert "cannot lock objects" in run(*LOCK, "cp", "old", "new", *words[3:]).err
    assert not files(vault)
    assert not [name for name in files(backups) if name.startswith("new/")]


def test_a_copy_to_elsewhere_says_that_it_is_not_locked(run: Run, backups: Path) -> None:
    elsewhere = backups.parent / "elsewhere"
    said = run(*LOCK, "cp", "old", f"{elsewhere}/")
    assert said.code == 0, said.err
    assert "the copy is not locked" in said.err + said.out


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_where_no_versions_are_kept_nothing_is_brought_back(
    run: Run, backups: Path, more: tuple[str, ...]
) -> None:
    before = files(backups)
    said = run("undelete", "old", *more)
    (line,) = said_in(said.err)
    assert (said.code, "tells no old versions of objects" in line) == (1, True)
    assert files(backups).keys() == before.keys()
