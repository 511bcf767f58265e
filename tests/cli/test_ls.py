"""`mbk ls`: what is printed of a listing, and that it ends quietly when nobody reads on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run


def sizes(home: Path) -> dict[str, int]:
    return {
        path.relative_to(home).as_posix(): path.stat().st_size for path in home.rglob("*") if path.is_file()
    }


def test_a_level_is_listed_with_its_directories_and_their_totals(run: Run, backups: Path) -> None:
    held = sizes(backups / "old")
    assert [line.split()[-1] for line in run("ls", "old").out.splitlines()[:-1]] == ["binlogs/", "meta/"]
    assert run("ls", "-q").out == "old/\n"
    meta = [key for key in held if key.startswith("meta/")]
    line = next(line for line in run("ls", "-l", "old").out.splitlines() if line.endswith(" meta/"))
    assert f" {len(meta)}  meta/" in line
    assert run("ls", "old/meta").out.splitlines()[-1].startswith(f"{len(meta)} objects, ")


def test_everything_is_listed_as_data(run: Run, backups: Path) -> None:
    held = sizes(backups)
    for words in ("", f"{backups}", f"file://{backups}/"):
        listed = json.loads(run("ls", "-r", "-o", "json", *filter(None, [words])).out)
        assert {item["name"]: item["size"] for item in listed} == held
    listed = yaml.safe_load(run("ls", "-r", "-o", "yaml", "old").out)
    assert {f"old/{item['name']}" for item in listed} == held.keys()
    (backups.parent / "empty").mkdir()
    assert json.loads(run("ls", "-o", "json", f"{backups.parent}/empty").out) == []
    assert run("ls", f"{backups.parent}/empty").out == "0 objects, 0 B\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [(("old/none",), 4), (("none",), 4), (("./none",), 4), (("none@",), 2), (("acme://b/x",), 2)],
    ids=str,
)
def test_what_cannot_be_listed_is_one_line(
    words: tuple[str, ...], code: int, run: Run, backups: Path
) -> None:
    result = run("ls", *words)
    assert (result.code, result.out) == (code, "")
    assert len(result.err.splitlines()) == 1


def test_a_reader_that_leaves_ends_a_deep_listing_quietly(backups: Path) -> None:
    deep = backups / "old/deep"
    deep.mkdir()
    for number in range(5000):
        (deep / f"{'x' * 60}{number}").touch()
    command = [sys.executable, "-m", "mbk", "ls", "-r", "old"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert (running.stderr.read(), running.wait()) == (b"", 141)
