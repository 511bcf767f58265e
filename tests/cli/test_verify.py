"""``mbk verify``: names, ``--all``, tables, data and exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mbk.errors import BackupNotFound, DamageFound, InvalidBackup, StorageUnavailable
from mbk.model.options import VerifyOptions
from mbk.model.plans import Plan
from mbk.model.reports import BackupSummary, Finding, Verification, VerifiedCollection, VerifyReport
from mbk.model.states import BackupState, Depth, FindingKind
from tests.cli.conftest import Run, Session

AT = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
WHOLE = VerifyReport(
    name="nightly",
    id="1",
    location="local://backups/nightly",
    depth=Depth.DIGESTS,
    recorded=True,
    at=AT,
    seconds=1.5,
    collections=(VerifiedCollection("default.docs", objects=4, size=2048, vouched=3, rows=7),),
    stored=True,
)
DAMAGED = replace(
    WHOLE,
    findings=(
        Finding(
            FindingKind.MISSING, "it is not there", "binlogs/insert_log/1/2/3/3/0/4", "default.docs", 3, 7
        ),
    ),
    found=1,
)


def damage(report: VerifyReport = DAMAGED) -> DamageFound:
    return DamageFound("damaged", code="backup-damaged", report=report)


@pytest.fixture
def answers(session: Session, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Backup -> its report, or the error that is raised."""
    by_name: dict[str, Any] = {}

    def run(operation: str, name: str | None, options: Any, *, on_event: Any = None) -> Any:
        session.calls.append((operation, name, options))
        answer = by_name.get(name or "", WHOLE)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(session, "run", run)
    return by_name


def names(session: Session) -> list[str]:
    return [call[1] for call in session.calls if call[0] == "verify"]


def test_a_whole_backup_is_one_table_and_a_line(run: Run, answers: dict[str, Any]) -> None:
    result = run("verify", "nightly")
    assert result.code == 0
    assert result.out.splitlines() == [
        "COLLECTION    OBJECTS     SIZE  VOUCHED  FINDINGS",
        "default.docs        4  2.0 KiB        3         0",
        "verify nightly (digests): nothing wrong, 4 objects in 1.5 s; "
        "nobody vouches for 1 object: --depth contents reads them; at local://backups/nightly",
    ]


def test_findings_are_printed_by_object_and_the_exit_code_is_8(run: Run, answers: dict[str, Any]) -> None:
    answers["nightly"] = damage()
    result = run("verify", "-n", "nightly")
    assert result.code == 8
    lines = result.out.splitlines()
    assert lines[2:4] == [
        "FINDING  COLLECTION    OBJECT                          DETAIL",
        "missing  default.docs  binlogs/insert_log/1/2/3/3/0/4  it is not there",
    ]
    assert result.err.startswith("mbk: error:")


def test_data_is_a_list_of_reports(run: Run, answers: dict[str, Any]) -> None:
    answers["nightly"] = damage()
    result = run("-o", "json", "verify", "nightly", "other")
    assert result.code == 8
    first, second = json.loads(result.out)
    assert (first["is_whole"], first["found"], second["is_whole"]) == (False, 1, True)
    assert first["findings"] == [
        {
            "kind": "missing",
            "detail": "it is not there",
            "key": "binlogs/insert_log/1/2/3/3/0/4",
            "collection": "default.docs",
            "segment": 3,
            "rows": 7,
            "concerns": [],
        }
    ]
    assert first["collections"][0]["vouched"] == 3


def test_all_of_them_goes_on_after_a_bad_one(run: Run, session: Session, answers: dict[str, Any]) -> None:
    session.backups = [
        BackupSummary("a", BackupState.COMPLETE),
        BackupSummary("b", BackupState.INCOMPLETE),
        BackupSummary("c", BackupState.UNREADABLE),
        BackupSummary("d", BackupState.PARTIAL),
    ]
    answers["a"] = InvalidBackup("strange", code="test")
    answers["c"] = damage()
    result = run("verify", "--all", "--depth", "contents", "--sample", "10%")
    assert names(session) == ["a", "c", "d"]
    assert session.calls[-1][2] == VerifyOptions(depth=Depth.CONTENTS, sample=10)
    assert result.code == 8
    assert "a: strange" in result.err
    assert "2 of 3 backups failed" in result.err


def test_it_stops_where_no_other_backup_could_be_verified_either(
    run: Run, session: Session, answers: dict[str, Any]
) -> None:
    answers["a"] = StorageUnavailable("gone", code="test")
    assert run("verify", "a", "b").code == 7
    assert names(session) == ["a"]


def test_a_missing_backup_is_not_found(run: Run, answers: dict[str, Any]) -> None:
    answers["typo"] = BackupNotFound("no such backup", code="test")
    assert run("verify", "typo").code == 4


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all", "nightly"),
        ("nightly", "--sample", "10%"),
        ("nightly", "--depth", "contents", "--sample", "0"),
        ("nightly", "--depth", "deep"),
        ("nightly", "--record", "--depth", "drill"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, answers: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    result = run("verify", *arguments)
    assert result.code == 2
    assert result.err.startswith("mbk: error: ")


def test_a_dry_run_shows_the_plan(run: Run, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(command="verify", name="nightly", location="local://backups/nightly", objects=4, size=2048)
    monkeypatch.setattr(session, "plan", lambda *_args, **_more: plan)
    result = run("verify", "nightly", "--dry-run")
    assert result.code == 0
    assert "nothing was changed" in result.out
    assert "4 objects, 2.0 KiB" in result.out


def test_the_listing_shows_when_and_how_deep(run: Run, session: Session) -> None:
    session.backups = [
        BackupSummary("a", BackupState.COMPLETE, verified=Verification(AT, Depth.CONTENTS, sample=10)),
        BackupSummary("b", BackupState.COMPLETE, verified=Verification(AT, Depth.DRILL, findings=2)),
        BackupSummary("c", BackupState.COMPLETE),
    ]
    assert [line.split("  ")[-1].strip() for line in run("list").out.splitlines()] == [
        "VERIFIED",
        "2026-11-30 contents 10%",
        "2026-11-30 drill, 2 findings",
        "-",
    ]
    first, *_ = json.loads(run("list", "-o", "json").out)
    assert first["verified"] == {
        "at": "2026-11-30T03:00:00Z",
        "depth": "contents",
        "findings": 0,
        "sample": 10,
    }


def test_the_metrics_of_a_run_tell_what_was_found(run: Run, answers: dict[str, Any]) -> None:
    answers["nightly"] = damage()
    result = run("verify", "nightly", "--metrics-file", "-")
    assert result.code == 8
    assert 'mbk_backup_findings{backup="nightly",depth="digests"} 1.0' in result.err
    assert 'mbk_last_run_success{kind="verify"} 0.0' in result.err
