"""All that is printed as JSON is as the reference says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mbk.cli.parsing import COMMANDS
from mbk.errors import BackupNotFound
from mbk.model.events import Notice, PhaseStarted, RunStarted, WorkExpected
from mbk.model.reports import BackupSummary, CheckResult, CollectionOutcome, Todo, Verification
from mbk.model.states import BackupState, CollectionState, Depth
from tests.cli.conftest import Run, Session, report
from tests.docs import schemas
from tests.docs.schemas import fits


def test_the_reference_has_the_schema_of_what_is_printed() -> None:
    """Fields may be added. If one was changed or taken away, that is another `SCHEMA_VERSION`."""
    assert schemas.text() == schemas.documented(), "on purpose? then: python -m tests.docs.schemas"


@pytest.fixture
def full(session: Session) -> Session:
    now = datetime.now(UTC)
    done = CollectionOutcome("default.a", "default.a_r", CollectionState.DONE, 12, 2048, 3000, None, 1.25)
    failed = CollectionOutcome("default.b", "default.b", CollectionState.FAILED, error="gone")
    todo = Todo("not-loaded", "it is not loaded", "--load", ("default.a_r",))
    session.result = report("create", done, failed, todo=(todo,), notices=("look",))
    verified = Verification(now, Depth.CONTENTS, 3)
    session.backups = [
        BackupSummary("a", BackupState.COMPLETE, 5, created=now, finished=now, verified=verified, rows=3),
        BackupSummary("b", BackupState.INCOMPLETE, reason="no full_meta.json"),
    ]
    session.checks = [
        CheckResult("Milvus answers", True, "v2.3.5"),
        CheckResult("bucket", False, hint="make it"),
    ]
    session.events = [
        RunStarted(command="create", name="a"),
        PhaseStarted(phase="copy", collection="default.a"),
        WorkExpected(collection="default.a", objects=1, size=1),
        Notice(code="gc", message="no pause", facts={"port": 1}),
    ]
    return session


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("report", ("create", "a")),
        ("report", ("restore", "a")),
        ("plan", ("restore", "a", "--dry-run")),
        ("backup", ("list",)),
        ("deletion", ("delete", "a", "--yes")),
        ("check", ("check",)),
        ("plan", ("create", "a", "--dry-run")),
        ("plan", ("delete", "a", "--dry-run")),
        ("storage", ("plugins",)),
        ("config", ("config", "show")),
        ("version", ("version",)),
    ],
)
def test_results_are_as_documented(kind: str, args: tuple[str, ...], run: Run, full: Session) -> None:
    if args[0] in ("list", "check"):
        full.events = []
    told = json.loads(run(*args, "-o", "json").out)
    fits(kind, *(told if isinstance(told, list) else [told]))


def test_every_command_is_in_the_table_of_outputs() -> None:
    """Those that print no result are known here."""
    table = (schemas.FILE.parent / "output.md").read_text(encoding="utf-8")
    first_cells = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    told = {name for name in COMMANDS if f"`{name}`" in first_cells or f"`{name} " in first_cells}
    assert set(COMMANDS) - told == {"completion", "server"}


def test_a_listing_of_objects_is_as_documented(run: Run, backups: Path) -> None:
    fits("entry", *json.loads(run("ls", "-o", "json").out))


def test_a_forecast_is_as_documented(run: Run, backups: Path) -> None:
    told = json.loads(run("plan", "verify", "old", "--no-probe", "-o", "json").out)
    fits("forecast", told)
    fits("plan", told["plan"] | {"schema_version": 1, "dry_run": True})


def test_a_verification_is_as_documented(run: Run, backups: Path) -> None:
    fits("verification", *json.loads(run("verify", "old", "-o", "json").out))


@pytest.mark.parametrize("detail", [(), ("--detail",)])
def test_the_document_of_a_backup_is_as_documented(detail: tuple[str, ...], run: Run, backups: Path) -> None:
    run("verify", "old")
    fits("document", json.loads(run("get", "old", *detail).out))
    (backups / "old" / "meta" / "full_meta.json").unlink()
    fits("document", json.loads(run("get", "old", *detail).out))


def test_lines_on_standard_error_are_as_documented(run: Run, full: Session) -> None:
    full.error = BackupNotFound("backup {backup!r} is gone", code="gone", backup="a")
    lines = [json.loads(line) for line in run("create", "a", "--log-format", "json").err.splitlines()]
    assert {line["kind"] for line in lines} == {"progress", "log", "error"}
    for line in lines:
        fits(line["kind"], line)
