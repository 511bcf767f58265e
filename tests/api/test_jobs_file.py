"""A jobs file that is damaged or cannot grow: told, and the rest of it is served."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mbk.jobs.failures import JobsFileUnusable
from mbk.jobs.store import Store
from mbk.model.jobs import Job
from mbk.model.states import JobState
from tests.api.harness import serving, settings
from tests.fakes.world import World
from tests.raising import raised

FILE = "jobs.db"


def filed(path: Path, *states: JobState) -> list[Job]:
    """A file with a job of each state."""
    with closing(Store(path)) as store:
        return [
            store.add(Job(id=f"job-{number}", kind="backup", name=f"nightly{number}", params={}, state=state))
            for number, state in enumerate(states)
        ]


def write(path: Path, body: object, id: str) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("UPDATE jobs SET body = ? WHERE id = ?", (body, id))
        file.commit()


@pytest.mark.parametrize(
    "body", ["no JSON", "[]", "{}", "null", b"\xff\xfe", '{"id": "job-0", "state": "unheard of"}']
)
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
def test_a_damaged_record_is_shown_as_one_and_hides_no_other(
    tmp_path: Path, world: World, body: object, state: JobState
) -> None:
    filed(tmp_path / FILE, state, JobState.SUCCEEDED)
    write(tmp_path / FILE, body, "job-0")
    with serving(settings(tmp_path), world) as client:
        found = {job["id"]: job for job in client.get("/api/v2/jobs")["items"]}
        assert found["job-1"]["state"] == "succeeded"
        damaged = client.get("/api/v2/jobs/job-0")
        assert damaged["state"] == found["job-0"]["state"] == "failed"
        assert damaged["backup"] == "nightly0"
        assert "damaged" in damaged["error"]["detail"]
        client.problem(409, "POST", "/api/v2/jobs/job-0:resume")
        client.done(kind="backup", name="another")


def test_a_page_of_garbage_is_told_before_anything_is_served(tmp_path: Path, world: World) -> None:
    path = tmp_path / FILE
    filed(path, *[JobState.SUCCEEDED] * 400)
    whole = path.read_bytes()
    at = len(whole) // 2 // 4096 * 4096
    path.write_bytes(whole[:at] + b"\xa5" * 4096 + whole[at + 4096 :])
    with raised(JobsFileUnusable, "jobs-file-unusable", path=str(path)):
        Store(path)
    path.rename(tmp_path / "away")  # as the hint says
    with serving(settings(tmp_path), world) as client:
        assert client.get("/api/v2/jobs")["items"] == []


def test_a_full_disk_is_told_as_one(tmp_path: Path, world: World) -> None:
    with serving(settings(tmp_path), world) as client:
        client.done(kind="backup", name="before")
        file = client.service.runner.store._db
        (pages,) = file.execute("PRAGMA page_count").fetchone()
        file.execute(f"PRAGMA max_page_count = {pages}")
        wanted = ",".join(f"c{number}" for number in range(9_000))
        told = client.problem(507, "POST", "/api/v2/jobs", json={"kind": "backup", "filter": wanted})
        assert told["status"] == 507
