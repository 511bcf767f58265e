"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest
import yaml

from mbk.errors import BackupNotFound, InvalidBackup, PartialFailure, RowsWrong
from mbk.model.contents import BackupInfo
from mbk.model.events import CollectionFinished, Notice, ObjectCopied, PhaseStarted, WorkPlanned
from mbk.model.operations import OPERATIONS
from mbk.model.options import Checksum, Verify
from mbk.model.reports import (
    BackupSummary,
    CheckResult,
    CollectionOutcome,
    GcReport,
    Leftover,
    PrunedBackup,
    PruneReport,
    Todo,
    TransferStats,
    UndeleteReport,
)
from mbk.model.states import LeftoverKind
from tests.cli.conftest import BIG, Run, Session, report

#: Commands for a terminal: its title, its screen, hidden text, the beginning of the line.
HOSTILE = "x\x1b]0;owned\x07\x9b2J\x1b[8m\r"
BACKUPS = [
    BackupSummary(
        "nightly", "complete", 3 * 1024**3, "v2.3.5", created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ),
    BackupSummary("half", "incomplete", reason="no full_meta.json"),
]


def test_quiet_lists_names_alone(run: Run, session: Session) -> None:
    session.backups = BACKUPS
    assert run("list", "-q").out == "nightly\nhalf\n"


def test_no_backups_print_nothing_on_standard_output(run: Run, session: Session) -> None:
    assert run("list").out == ""
    assert run("list", "-o", "json").out == "[]\n"
    assert len(session.calls) == 2


@pytest.mark.parametrize("where", [("-o", "json", "list"), ("list", "--output", "json"), ("list", "-ojson")])
def test_a_listing_for_machines(where: tuple[str, ...], run: Run, session: Session) -> None:
    session.backups = BACKUPS
    second, first = json.loads(run(*where).out)
    assert first["size"] == 3 * 1024**3
    assert first["created"] == "2026-01-02T03:04:05Z"
    assert (second["state"], second["created"], second["size"]) == ("incomplete", None, None)


def test_the_listing_can_be_narrowed_to_a_collection(run: Run, session: Session) -> None:
    session.backups = BACKUPS
    session.info = {
        "collection_backups": [{"collection_name": "hello"}, {"db_name": "db", "collection_name": "x"}]
    }
    assert run("list", "-q", "-c", "hello").out == "nightly\n"
    assert run("list", "-q", "--collection", "db.x").out == "nightly\n"
    assert run("list", "-q", "-c", "x").out == ""
    assert ("get", "half", False) not in session.calls


def test_an_unreadable_backup_does_not_spoil_a_narrowed_listing(
    run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.backups = BACKUPS

    def get(name: str, *, detail: bool = False) -> BackupInfo:
        raise InvalidBackup("meta/full_meta.json is damaged")

    monkeypatch.setattr(session, "get", get)
    listed = json.loads(run("list", "-c", "hello", "-o", "json").out)
    assert [(item["name"], item["state"]) for item in listed] == [("nightly", "unreadable")]


def test_an_empty_name_does_not_list_everything(run: Run, session: Session) -> None:
    assert run("list", "-c", "").code == 2


def test_get_prints_json_with_exact_integers_and_names_as_they_are(run: Run, session: Session) -> None:
    session.info = {"id": "1", "size": BIG, "name": "备份", "state": "complete"}
    out = run("get", "nightly").out
    assert json.loads(out) == session.info
    assert (
        out == f'{{\n    "name": "备份",\n    "state": "complete",\n    "id": "1",\n    "size": {BIG}\n}}\n'
    )
    assert yaml.safe_load(run("get", "nightly", "-o", "yaml").out) == session.info


def test_get_with_detail_asks_for_all(run: Run, session: Session) -> None:
    run("get", "nightly", "-d")
    run("get", "nightly", "--detail")
    assert session.calls == [("get", "nightly", True)] * 2


def test_get_as_a_table(run: Run, session: Session) -> None:
    session.info = {
        "name": "nightly",
        "size": 2048,
        "milvus_version": "v2.3.5",
        "collection_backups": [
            {
                "collection_name": "集合",
                "size": 1024,
                "index_infos": [{"index_type": "HNSW"}],
                "load_state": "Loaded",
                "protection": {"boundary": "all", "at": "2026-01-01T00:00:00.123+00:00", "gc_paused": False},
            },
            {"db_name": "db", "collection_name": "b", "size": 1024},
        ],
    }
    assert run("get", "nightly", "-o", "table").out.splitlines() == [
        "COLLECTION       SIZE  INDEXES  LOADED  BOUNDARY",
        "default.集合  1.0 KiB  HNSW     Loaded  all 2026-01-01T00:00:00.123+00:00 (GC not paused)",
        "db.b          1.0 KiB  -        -       -",
        "nightly: 2 collections, 2.0 KiB, Milvus v2.3.5",
    ]


def test_a_restore_tells_what_it_left_to_be_done(run: Run, session: Session) -> None:
    names = ("default.a", "default.b", "default.c", "default.d")
    todo = Todo("indexes-not-built", "the indexes were not built", "--rebuild-index", names)
    session.result = report("restore", todo=(todo,), compared="none")
    shown = run("restore", "nightly")
    assert shown.out.splitlines()[-2:] == [
        "  compared with the backup's record: nothing, as --verify none says",
        "  the indexes were not built (4 collections): do it with your client, or restore with --rebuild-index",
    ]
    assert json.loads(run("restore", "nightly", "-o", "json").out)["todo"][0]["option"] == "--rebuild-index"


def test_get_with_detail_shows_partitions_segments_and_rows_in_a_table(run: Run, session: Session) -> None:
    segments = [{"num_of_rows": 5}, {"num_of_rows": 7}, {"num_of_rows": 3, "is_l0": True}]
    partition = {"partition_name": "_default", "size": 2048, "segment_backups": segments}
    l0 = [{"num_of_rows": 9}]
    docs = {"collection_name": "docs", "size": 3072, "partition_backups": [partition], "l0_segments": l0}
    session.info = {"size": 3072, "collection_backups": [docs]}
    assert run("get", "nightly", "-d", "-o", "table").out.splitlines() == [
        "COLLECTION    PARTITIONS  SEGMENTS  L0  ROWS     SIZE  INDEXES  LOADED  BOUNDARY",
        "default.docs           1         4   1    12  3.0 KiB  -        -       -",
        "",
        "COLLECTION    PARTITION  SEGMENTS  ROWS     SIZE",
        "default.docs  _default          3    12  2.0 KiB",
        "",
        "nightly: 1 collection, 3.0 KiB, Milvus unknown",
    ]


def test_what_is_unknown_of_an_incomplete_backup_is_no_zero(run: Run, session: Session) -> None:
    session.info = {"state": "incomplete", "reason": "finish it: mbk create -n nightly --resume"}
    assert run("get", "nightly", "-o", "table").out.splitlines() == [
        "nightly: - collections, -, Milvus unknown",
        "incomplete: finish it: mbk create -n nightly --resume",
    ]


def test_objects_that_a_plan_does_not_know_are_no_zero(run: Run, session: Session) -> None:
    session.result = report("create", CollectionOutcome("default.a", "default.a", "planned", rows_expected=5))
    shown = run("create", "nightly", "--dry-run").out.splitlines()
    assert shown[:2] == ["COLLECTION  ROWS  OBJECTS  SIZE", "default.a      5  -        -"]
    assert "0 objects" not in shown[-1]


def test_a_collection_that_failed_has_no_number_of_objects(run: Run, session: Session) -> None:
    session.result = report("create", CollectionOutcome("default.a", "default.a", "failed", error="gone"))
    assert run("create", "nightly").out.splitlines()[1].split() == [
        "default.a",
        "failed",
        "-",
        "-",
        "0.0",
        "s",
    ]


def test_a_restore_tells_rows_expected_against_rows_present(run: Run, session: Session) -> None:
    session.result = report(
        "restore",
        CollectionOutcome("default.a", "default.a_r", "done", 12, 2048, 3000, 3000, 1.25),
        CollectionOutcome("default.b", "default.b_r", "failed", error="import failed", rows_expected=5),
        transfer=TransferStats(
            {"stream": 12, "convert": 1},
            {"stream": 2048, "convert": 512},
            streamed_because="the accounts differ",
            streamed_hint="let the one read the other",
            retries=1,
            limited_because="at most 3 of 128 copies were streamed at once",
        ),
    )
    assert run("restore", "nightly", "-s", "_r").out.splitlines() == [
        "COLLECTION  TARGET       OUTCOME  EXPECTED  PRESENT  OBJECTS     SIZE   TIME",
        "default.a   default.a_r  done         3000     3000       12  2.0 KiB  1.2 s",
        "default.b   default.b_r  failed          5        -        -        -  0.0 s",
        "  default.b: import failed",
        "restore nightly: 1 of 2 collections, 2.0 KiB in 1.5 s; 12 objects (2.0 KiB) streamed; "
        "1 object (512 B) converted; at most 3 of 128 copies were streamed at once; 1 retry; from local://backups",
        "  streamed because the accounts differ; let the one read the other",
    ]


@pytest.mark.parametrize("checksum", get_args(Checksum))
def test_a_backup_tells_how_deep_it_was_compared(checksum: str, run: Run, session: Session) -> None:
    session.result = report("create", compared=checksum)
    assert run("create").out.splitlines()[-1].startswith("  compared with their sources: ")


@pytest.mark.parametrize("depth", get_args(Verify))
def test_a_restore_tells_how_deep_it_was_compared(depth: str, run: Run, session: Session) -> None:
    session.result = report("restore", compared=depth)
    assert run("restore", "nightly").out.splitlines()[-1].startswith("  compared with the backup's record: ")


def test_a_report_fits_into_the_terminal(run: Run, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not, what matters least is left out."""
    name = "default.a_collection_with_a_name_of_some_length"
    session.result = report("restore", CollectionOutcome(name, name, "done", 12, 2048, 3000, 3000, 1.25))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    for columns, shown in (
        (145, "COLLECTION TARGET OUTCOME EXPECTED PRESENT OBJECTS SIZE"),
        (80, "TARGET OUTCOME EXPECTED PRESENT"),
    ):
        monkeypatch.setenv("COLUMNS", str(columns))
        table = run("restore", "nightly").out.splitlines()[:2]
        assert " ".join(table[0].split()) == shown
        assert max(map(len, table)) <= columns


def test_a_create_for_machines_is_the_whole_report(run: Run, session: Session) -> None:
    session.result = report(
        "create", CollectionOutcome("default.a", "default.a", "done", 1, BIG), notices=("n",)
    )
    told = json.loads(run("create", "-o", "json").out)
    assert told["collections"][0]["size"] == told["size"] == BIG
    assert told["notices"] == ["n"]
    assert told["dry_run"] is False


def test_many_reasons_do_not_make_a_line_that_nobody_can_read(run: Run, session: Session) -> None:
    reason = "; ".join(f"default.coll{number}: its files are gone" for number in range(100))
    session.backups = [BackupSummary("part", "partial", reason=reason)]
    assert max(map(len, run("list").out.splitlines())) < 200
    assert json.loads(run("list", "-o", "json").out)[0]["reason"] == reason


WRITING = [operation.name for operation in OPERATIONS.values() if operation.module]
NEEDED = {
    "restore secondary": ("--source-cluster-id", "a", "--target-cluster-id", "b"),
    "copy": ("--path", "elsewhere"),
    "migrate": ("--cluster-id", "c"),
    "l0compact": ("--force",),
}


@pytest.mark.parametrize("name", WRITING)
def test_every_operation_has_a_dry_run_that_asks_nothing_and_runs_nothing(
    name: str, run: Run, session: Session
) -> None:
    named = () if OPERATIONS[name].name_of_backup == "none" else ("-n", "nightly")
    result = run(*name.split(), *named, *NEEDED.get(name, ()), "--dry-run")
    assert result.code == 0, result.err
    assert [call[0] for call in session.calls] == [f"plan {name}"]
    assert "(dry run, nothing was changed)" in result.out


def test_a_plan_is_a_table_with_what_it_removes_and_its_totals(run: Run, session: Session) -> None:
    planned = [
        CollectionOutcome("default.a", "default.b", "planned", 2, 2048, rows_expected=7),
        CollectionOutcome("default.c", "default.c", "planned", 1, 1024, notes=("its rows are not counted",)),
    ]
    session.result = report("restore", *planned)
    assert run("restore", "nightly", "--dry-run").out.splitlines() == [
        "COLLECTION  TARGET     ROWS  OBJECTS     SIZE",
        "default.a   default.b     7        2  2.0 KiB",
        "default.c   default.c     -        1  1.0 KiB",
        "  default.c: its rows are not counted",
        "  removes collection default.old",
        "restore nightly (dry run, nothing was changed): 2 collections, 3 objects, 3.0 KiB; format binlog; "
        "at local://backups/nightly",
    ]


def test_a_plan_for_machines_is_whole(run: Run, session: Session) -> None:
    session.result = report("create", CollectionOutcome("default.a", "default.a", "planned", 1, BIG))
    told = json.loads(run("create", "-n", "nightly", "--dry-run", "-o", "json").out)
    assert (told["command"], told["name"], told["dry_run"]) == ("create", "nightly", True)
    assert told["collections"][0]["size"] == told["size"] == BIG
    assert (told["objects"], told["rows"]) == (1, None)
    assert told["removes"] == ["collection default.old"]


def test_notices_are_warnings_on_standard_error_once_each(run: Run, session: Session) -> None:
    notice = Notice(code="gc", message="the server cannot pause its GC")
    session.events = [
        PhaseStarted(phase="copy", collection="default.a"),
        WorkPlanned(collection="default.a", objects=1, size=1),
        ObjectCopied(collection="default.a", key="k", size=1, how="server"),
        notice,
        notice,
        CollectionFinished(collection="default.a", outcome="failed", error="it was dropped"),
    ]
    result = run("create", "-o", "json", "--progress", "none")
    assert result.err.splitlines() == [
        "mbk: warning: the server cannot pause its GC",
        "mbk: warning: default.a: it was dropped",
    ]
    json.loads(result.out)
    assert run("create", "-q").err == ""


def test_a_check_prints_each_answer_and_how_to_mend_what_failed(run: Run, session: Session) -> None:
    session.checks = [
        CheckResult("Milvus answers", True, "v2.3.5"),
        CheckResult("GC pause", True, "404", hint="not on this server", warning=True),
        CheckResult("backup storage", False, "no such bucket", hint="create it", exit_code=4),
        CheckResult("copy", False, "no", exit_code=7),
    ]
    result = run("check")
    assert result.code == 4
    assert result.out.splitlines() == [
        "ok       configuration: backup.yaml (v1)",
        "ok       Milvus answers: v2.3.5",
        "warning  GC pause: 404",
        "         not on this server",
        "failed   backup storage: no such bucket",
        "         create it",
        "failed   copy: no",
    ]
    assert [item["ok"] for item in json.loads(run("check", "-o", "json").out)] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_check_for_one_command_asks_for_that(run: Run, session: Session) -> None:
    assert run("check", "--for", "restore").code == 0
    assert session.calls[-1] == ("check", "restore")
    refused = run("check", "--for", "resore")
    assert refused.code == 2
    assert "restore" in refused.err


def test_a_check_with_warnings_alone_is_a_success(run: Run, session: Session) -> None:
    session.checks = [CheckResult("GC pause", True, "404", warning=True)]
    assert run("check").code == 0


def test_the_report_of_a_partial_failure_is_on_standard_output(run: Run, session: Session) -> None:
    session.error = PartialFailure(
        "1 of 1 collections failed",
        report=report(
            "create", CollectionOutcome("default.a", "default.a", "failed", error="it was dropped")
        ),
    )
    result = run("create", "-n", "nightly")
    assert "default.a   failed" in result.out
    assert result.err == "mbk: error: 1 of 1 collections failed\n"


def test_what_came_back_is_told_in_one_line(run: Run, session: Session) -> None:
    session.result = UndeleteReport(
        name="nightly",
        id="1",
        location="s3://vault/nightly",
        returned=16,
        size=2048,
        rewritten=3,
        present=1,
        seconds=1.5,
    )
    assert run("undelete", "nightly").out == (
        "undelete nightly: 16 objects (2.0 KiB) back in 1.5 s; 3 of them written again; 1 object already there; "
        "at s3://vault/nightly\n"
    )
    assert json.loads(run("undelete", "nightly", "-o", "json").out)["rewritten"] == 3


def test_the_report_of_a_prune_is_shown_if_a_backup_could_not_be_deleted(run: Run, session: Session) -> None:
    stuck = PrunedBackup("old", "failed", ("no rule keeps it",), "complete", error="it is in use")
    session.error = PartialFailure("1 is still there", report=PruneReport("local://backups", (stuck,)))
    result = run("prune", "--keep-last", "1", "--yes")
    assert (result.code, result.err) == (3, "mbk: error: 1 is still there\n")
    assert "old: it is in use" in result.out
    told = json.loads(run("prune", "--keep-last", "1", "--yes", "-o", "json").out)
    assert [item["outcome"] for item in told["backups"]] == ["failed"]


def test_the_report_of_a_gc_says_what_was_removed_and_what_is_left_and_why(
    run: Run, session: Session
) -> None:
    rest = Leftover(kind=LeftoverKind.BACKUP, location="s3://vault", name="old", outcome="removed", objects=1)
    stuck = replace(rest, name="stuck", outcome="failed", objects=2, reason="it is pinned")
    found = GcReport("s3://vault", deleted_objects=1, freed=2048, leftovers=(rest, stuck), seconds=1.5)
    session.error = PartialFailure("1 leftover is still there", report=found)
    result = run("gc", "--yes")
    assert (result.code, result.err) == (3, "mbk: error: 1 leftover is still there\n")
    assert result.out == (
        "  removed 1 object of old, the rest of a backup\n"
        "  cannot remove 2 objects of stuck, the rest of a backup; it is pinned\n"
        "gc: 1 object (2.0 KiB) removed in 1.5 s; in s3://vault\n"
    )
    told = json.loads(run("gc", "--yes", "-o", "json").out)
    assert [(item["name"], item["outcome"]) for item in told["leftovers"]] == [
        ("old", "removed"),
        ("stuck", "failed"),
    ]


def test_wrong_rows_are_shown_with_what_must_be_there(run: Run, session: Session) -> None:
    wrong = CollectionOutcome(
        "default.a", "default.a_back", "wrong", rows_expected=5, rows_present=4, error="one row too few"
    )
    session.error = RowsWrong("the rows are wrong", report=report("restore", wrong))
    result = run("restore", "-n", "nightly")
    assert result.code == 8
    (line,) = [line for line in result.out.splitlines() if "a_back" in line]
    assert line.split()[:5] == ["default.a", "default.a_back", "wrong", "5", "4"]
    assert "default.a: one row too few" in result.out


def test_the_plugins_are_listed_with_what_they_need(run: Run) -> None:
    result = run("plugins")
    assert result.code == 0
    header, *rows = result.out.splitlines()
    assert header.split() == ["NAME", "ALSO", "FROM", "STATE", "WHAT"]
    assert any(row.startswith("local ") for row in rows)
    listed = json.loads(run("plugins", "-o", "json").out)
    assert {item["name"] for item in listed} == {row.split()[0] for row in rows}


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_what_a_terminal_would_obey_is_printed_as_text(output: str, run: Run, session: Session) -> None:
    reason = f"collections failed: {HOSTILE}"
    session.backups = [BackupSummary(name="nightly", state="partial", reason=reason)]
    told = run("list", "-o", output)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", told.out)
    assert "owned" in told.out
    if output == "json":
        assert json.loads(told.out)[0]["reason"] == reason


def test_a_message_cannot_command_the_terminal_either(run: Run, session: Session) -> None:
    session.error = BackupNotFound(f"no backup {HOSTILE}")
    told = run("get", "nightly")
    assert "owned" in told.err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", told.err)
