"""`/api/v2` uses the words of the library and of the command line: of docs/reference/output.schema.json."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from mbk.cli import terminal
from mbk.cli.logs import configure
from mbk.config.schema import LogSettings
from mbk.model.contents import BackupCollection, BackupIndex, BackupPartition
from mbk.model.jobs import Job
from mbk.model.reports import BackupSummary, CollectionOutcome, RunReport, Verification
from tests.api.harness import Client, WorldSession, serving, settings
from tests.docs.schemas import fits
from tests.fakes.world import World

#: What the listing and the look at one backup both tell.
SHARED = ("name", "rows", "size", "created", "finished", "labels", "pin", "locked", "verified")


def words(kind: type) -> set[str]:
    return {item.name for item in fields(kind)}


def test_a_job_tells_its_progress_and_result_as_the_command_does(client: Client) -> None:
    made = client.done(kind="backup", name="nightly")
    fits("Progress", made["progress"])
    fits("TransferStats", made["result"]["transfer"])
    assert set(made["result"]) <= words(RunReport) | {"size"}
    assert set(made) - words(Job) == {"backup", "resumable"}
    for item in made["collections"]:
        assert set(item) - words(CollectionOutcome) == {"state", "percent"}
    restored = client.done(kind="restore", backup="nightly", suffix="_back")
    for item in restored["result"]["todo"]:
        fits("Todo", item)


def test_what_else_jobs_come_to_is_the_report_of_the_command(client: Client, world: World) -> None:
    world.backup.bucket.versioned = True
    client.done(kind="backup", name="nightly")
    verified = dict(client.done(kind="verify", backup="nightly")["result"])
    assert verified.pop("is_whole") is True
    fits("VerifyReport", verified)
    fits("PruneReport", client.done(kind="prune", keep_last=1)["result"])
    fits("DeletionReport", client.done(kind="delete", backup="nightly")["result"])
    returned = client.done(kind="undelete", backup="nightly")["result"]
    fits("UndeleteReport", returned)
    assert returned["returned"] > 5
    assert client.get("/api/v2/backups/nightly")["state"] == "complete"


def test_backups_are_told_as_by_list(client: Client, world: World, tmp_path: Path) -> None:
    client.done(kind="backup", name="nightly")
    client.done(kind="verify", backup="nightly")
    with WorldSession(settings(tmp_path), lambda: world) as session:
        session.pin("nightly", reason="audit")
    (summary,) = client.get("/api/v2/backups")["items"]
    assert set(summary) == words(BackupSummary) - {"written"}
    assert set(summary["verified"]) == words(Verification)
    fits("BackupSummary", summary)
    detail = client.get("/api/v2/backups/nightly")
    assert {name: detail[name] for name in SHARED} == {name: summary[name] for name in SHARED}
    for item in detail["collections"]:
        assert set(item) - words(BackupCollection) == {"segments"}
        assert all(set(part) == words(BackupPartition) for part in item["partitions"])
        assert all(set(index) == words(BackupIndex) for index in item["indexes"])


def test_a_problem_has_what_an_error_of_the_command_has(client: Client) -> None:
    """RFC 9457 has words of its own for the message and the class."""
    told = client.problem(404, "GET", "/api/v2/backups/none")
    own = {"type": "urn:mbk:backup-not-found", "title": "Backup not found", "status": 404}
    assert told.items() >= own.items()
    error = {name: value for name, value in told.items() if name not in own}
    error = {"kind": "BackupNotFound", "message": error.pop("detail"), **error}
    fits("Failure", error)
    assert (error["exit_code"], error["facts"]["backup"]) == (4, "none")


def test_lines_of_the_log_about_jobs_have_their_facts(world: World, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    terminal.json_lines(True)
    try:
        configure(LogSettings(console=False, file=str(log)))
        with serving(settings(tmp_path), world) as client:
            job = client.over(client.delete("/api/v2/backups/none"))
    finally:
        terminal.json_lines(False)
        configure(LogSettings(console=False))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    fits("log", *lines)
    told = [line["facts"] for line in lines if line.get("facts", {}).get("job") == job["id"]]
    assert [facts["state"] for facts in told] == ["running", "failed"]
    assert (told[-1]["code"], told[-1]["exit_code"]) == ("backup-missing", 4)
