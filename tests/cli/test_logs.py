"""Where log lines go."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mbk.cli.logfile import RotatingFile
from mbk.cli.logs import configure
from mbk.config.schema import LogSettings
from mbk.errors import BackupNotFound
from mbk.model.events import CollectionFinished, Notice, ObjectCopied, PhaseStarted
from tests.cli.conftest import Run, Session


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    configure(LogSettings(console=False))


def say(level: int = logging.INFO, text: str = "hello", name: str = "mbk.engine") -> None:
    logging.getLogger(name).log(level, text)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", {10, 20, 30, 40, 50}),
        ("info", {20, 30, 40, 50}),
        ("warn", {30, 40, 50}),
        ("error", {40, 50}),
        ("panic", {50}),
        ("fatal", {50}),
    ],
)
def test_the_classic_level_names(level: str, shown: set[int], capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings.model_validate({"level": level}))
    for number in (10, 20, 30, 40, 50):
        say(number, f"at {number}")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert {int(line.rpartition(" ")[2]) for line in seen.err.splitlines()} == shown


def test_no_console_no_lines_and_quiet_leaves_errors(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(console=False))
    say(logging.ERROR)
    assert capsys.readouterr().err == ""
    configure(LogSettings(), quiet=True)
    say(logging.WARNING, "soft")
    say(logging.ERROR, "hard")
    assert capsys.readouterr().err.endswith("error: hard\n")


def test_the_chatter_of_libraries_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(level="debug"))
    say(logging.DEBUG, "body of a request", name="somebody.elses")
    assert capsys.readouterr().err == ""


def test_what_sdks_say_of_a_failure_is_for_the_file_and_for_debug(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sdks = ("azure.identity.aio", "msal.token_cache", "botocore.credentials", "urllib3.connectionpool")
    file = tmp_path / "mbk.log"
    configure(LogSettings.model_validate({"file": str(file)}))
    for name in sdks:
        say(logging.WARNING, f"{name} failed", name=name)
    say(logging.WARNING, "ours", name="mbk_azure.client")
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()] == ["ours"]
    written = file.read_text(encoding="utf-8")
    assert all(f"{name} failed" in written for name in sdks)
    configure(LogSettings(level="debug"))
    for name in sdks:
        say(logging.WARNING, f"{name} failed", name=name)
    shown = capsys.readouterr().err
    assert all(f"{name} failed" in shown for name in sdks)


def test_no_file_is_written_unless_one_is_named(run: Run, session: Session) -> None:
    assert run("list").code == 0
    assert [path.name for path in Path().iterdir()] == ["backup.yaml"]
    assert len(session.calls) == 1


def test_the_file_is_made_with_its_directory(run: Run, session: Session) -> None:
    assert run("list", "--set", "log.file.filename=logs/deep/backup.log").code == 0
    say(text="after")
    assert "INFO mbk.engine: after" in Path("logs/deep/backup.log").read_text(encoding="utf-8")
    assert len(session.calls) == 1


def test_the_file_tells_what_happened_in_a_run_and_the_console_does_not(run: Run, session: Session) -> None:
    session.events = [
        PhaseStarted(phase="flush", collection="default.a"),
        ObjectCopied(collection="default.a", key="k", size=1, how="server"),
        CollectionFinished(collection="default.a", outcome="done"),
    ]
    assert run("create", "--progress", "none", "--set", "log.file.filename=backup.log").err == ""
    written = Path("backup.log").read_text(encoding="utf-8")
    assert "phase.started phase='flush' collection='default.a'" in written
    assert "collection.finished" in written
    assert "object.copied" not in written
    run("create", "--set", "log.file.filename=debug.log,log.level=debug")
    assert "object.copied" in Path("debug.log").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_a_warning(run: Run, session: Session) -> None:
    Path("logs").write_text("a file where a directory should be", encoding="utf-8")
    result = run("list", "--set", "log.file.filename=logs/backup.log")
    assert result.code == 0
    assert result.err.startswith("mbk: warning: ")
    assert "logs/backup.log" in result.err
    assert len(session.calls) == 1


def test_the_file_is_rotated_by_size_and_the_newest_old_ones_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "backup.log"
    configure(LogSettings(console=False, file=str(file), max_size_mib=1, max_backups=2))
    for number in range(6):
        say(text=f"{number} " + "x" * 600_000)
    old = sorted(tmp_path.glob("backup-*.log"))
    assert len(old) == 2
    assert [text.read_text(encoding="utf-8").split(": ")[1][0] for text in (*old, file)] == ["3", "4", "5"]


def test_the_file_is_for_its_owner_alone_unless_somebody_gave_it_other_rights(tmp_path: Path) -> None:
    path = tmp_path / "mbk.log"
    handler = RotatingFile(path, max_bytes=100, keep=0, max_age=0)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    handler.doRollover()
    handler.close()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o640}


def test_old_files_go_by_age(tmp_path: Path) -> None:
    ancient = tmp_path / "backup-2020-01-01T00-00-00.000.log"
    ancient.write_text("old", encoding="utf-8")
    os.utime(ancient, (0, 0))
    configure(LogSettings(console=False, file=str(tmp_path / "backup.log"), max_size_mib=1, max_days=7))
    for _ in range(3):
        say(text="x" * 600_000)
    assert not ancient.exists()
    assert list(tmp_path.glob("backup-*.log"))


def test_every_line_is_an_object_if_that_is_asked_for(run: Run, session: Session) -> None:
    session.events = [
        PhaseStarted(phase="copy", collection="default.a"),
        Notice(code="gc", message="no pause", collection="default.a", facts={"port": 9091}),
    ]
    result = run("create", "--log-format", "json", "--set", "log.file.filename=backup.log")
    progress, notice, last = map(json.loads, result.err.splitlines())
    assert (progress["kind"], progress["phase"], last["kind"]) == ("progress", "copy", "progress")
    assert {key: notice[key] for key in ("schema_version", "kind", "level", "message")} == {
        "schema_version": 1,
        "kind": "log",
        "level": "warning",
        "message": "no pause",
    }
    assert (notice["code"], notice["collection"], notice["facts"]) == ("gc", "default.a", {"port": 9091})
    written = [json.loads(line) for line in Path("backup.log").read_text(encoding="utf-8").splitlines()]
    assert {item["kind"] for item in written} == {"log"}
    assert {"event": "phase.started", "phase": "copy", "collection": "default.a"} in [
        item["facts"] for item in written
    ]
    assert run("create", "--progress", "none").err == "mbk: warning: default.a: no pause\n"


def test_the_configuration_asks_for_objects_and_an_option_for_the_contrary(
    run: Run, session: Session
) -> None:
    session.error = BackupNotFound("gone")
    asked = ("get", "a", "--set", "log.format=json")
    assert json.loads(run(*asked).err)["class"] == "BackupNotFound"
    assert run(*asked, "--log-format", "text").err == "mbk: error: gone\n"
    told = run("get", "a", "--set", "log.format=xml")
    assert told.code == 2
    assert "log.format" in told.err
