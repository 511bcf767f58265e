"""Jobs over ``/api/v2``: filed, watched, cancelled, resumed, and found again."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from mbk.errors import MbkError, StorageError, UsageError
from mbk.jobs.failures import WrongState
from tests.api.harness import PATIENCE, Client, Gate, serving, settings
from tests.fakes.world import World
from tests.raising import raised


def events(client: Client, job: Any, **headers: str) -> list[tuple[int, str, Any]]:
    """All events of a job's stream, which ends with the job."""
    answer = requests.get(
        f"{client.url}/api/v2/jobs/{job['id']}/events", stream=True, timeout=PATIENCE, headers=headers
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_a_backup_and_a_restore(client: Client, world: World) -> None:
    answer = client.ask("POST", "/api/v2/jobs", json={"kind": "backup", "name": "nightly"})
    assert answer.status_code == 202
    job = client.over(client.get(answer.headers["Location"]))
    assert (job["state"], job["backup"], job["kind"]) == ("succeeded", "nightly", "backup")
    assert job["progress"]["percent"] == 100
    assert {item["source"]: item["state"] for item in job["collections"]} == {
        "default.docs": "done",
        "default.notes": "done",
        "shop.docs": "done",
    }
    assert job["progress"]["bytes"] == sum(item["size"] for item in job["collections"]) > 0
    assert job["started"] <= job["finished"]
    restored = client.done(kind="restore", backup="nightly", filter="docs_back", suffix="_back")
    (only,) = restored["collections"]
    assert (only["source"], only["target"]) == ("default.docs", "default.docs_back")
    assert only["rows_present"] == only["rows_expected"] == 10
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


@pytest.mark.parametrize(
    ("kind", "empty"),
    [
        *(("backup", {name: value}) for name in ("filter", "exclude") for value in ("", " , ", {})),
        *(
            ("restore", {name: value})
            for name in ("filter", "exclude", "source_filter", "source_exclude", "rename")
            for value in ("", ",", {})
        ),
        ("restore", {"mapping": []}),
    ],
)
def test_a_list_that_names_nothing_does_not_mean_everything(
    kind: str, empty: dict[str, Any], client: Client, world: World
) -> None:
    named = {"backup": "nightly"} if kind == "restore" else {"name": "nightly"}
    client.problem(400, "POST", "/api/v2/jobs", json={"kind": kind, **named, **empty})
    assert client.get("/api/v2/jobs")["items"] == []
    assert not world.backed_up


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"filter": {"default": ["docs"], "shop": []}}, ["default.docs", "shop.docs"]),
        ({"filter": {"": ["*"]}, "exclude": "notes"}, ["default.docs"]),
        ({"exclude": {"shop": []}}, ["default.docs", "default.notes"]),
        ({"filter": "*.docs", "exclude": None}, ["default.docs", "shop.docs"]),
    ],
)
def test_what_is_chosen_may_be_text_or_an_object(
    chosen: dict[str, Any], found: list[str], client: Client
) -> None:
    job = client.done(kind="backup", name="nightly", **chosen)
    assert sorted(item["source"] for item in job["collections"]) == found
    back = client.done(kind="restore", backup="nightly", suffix="_2")
    assert sorted(item["source"] for item in back["collections"]) == found


def test_the_backups_are_told_with_collections_partitions_and_indexes(client: Client) -> None:
    client.done(kind="backup", name="b1", filter="docs")
    client.done(kind="backup", name="b2")
    client.done(kind="backup", name="b3")
    first = client.get("/api/v2/backups", limit=2)
    assert [item["name"] for item in first["items"]] == ["b1", "b2"]
    rest = client.get("/api/v2/backups", limit=2, cursor=first["next_cursor"])
    assert ([item["name"] for item in rest["items"]], rest["next_cursor"]) == (["b3"], None)
    one = client.get("/api/v2/backups/b1")
    assert (one["state"], one["name"]) == ("complete", "b1")
    (collection,) = one["collections"]
    assert (collection["database"], collection["name"]) == ("default", "docs")
    (partition,) = collection["partitions"]
    assert (partition["name"], partition["rows"], partition["segments"]) == ("_default", 10, 1)
    assert partition["size"] > 0
    client.problem(404, "GET", "/api/v2/backups/none")


def test_a_backup_is_deleted_as_a_job(client: Client) -> None:
    client.done(kind="backup", name="nightly")
    answer = client.ask("DELETE", "/api/v2/backups/nightly")
    assert answer.status_code == 202
    job = client.over(client.get(answer.headers["Location"]))
    assert job["state"] == "succeeded"
    assert job["result"]["deleted_objects"] > 5
    assert client.get("/api/v2/backups")["items"] == []
    gone = client.over(client.delete("/api/v2/backups/nightly"))
    assert (gone["state"], gone["error"]["type"]) == ("failed", "urn:mbk:backup-not-found")
    assert not gone["resumable"]


def test_a_prune_is_a_job_that_deletes_what_no_rule_keeps(client: Client) -> None:
    client.done(kind="backup", name="keep", labels={"team": "search"})
    client.done(kind="backup", name="first")
    client.done(kind="backup", name="second")
    job = client.done(kind="prune", keep_last=1, keep_labels=["team=search"])
    outcomes = {item["name"]: item["outcome"] for item in job["result"]["backups"]}
    assert sorted(outcomes.values()) == ["deleted", "kept", "kept"]
    assert outcomes["keep"] == "kept"
    left = {item["name"] for item in client.get("/api/v2/backups")["items"]}
    assert left == {name for name, outcome in outcomes.items() if outcome == "kept"}
    assert (job["backup"], job["params"]) == (
        "",
        {"kind": "prune", "keep_last": 1, "keep_labels": ["team=search"]},
    )


def test_a_prune_without_a_rule_deletes_nothing(client: Client) -> None:
    client.done(kind="backup", name="a")
    client.done(kind="backup", name="b")
    job = client.over(client.job(kind="prune"))
    assert (job["state"], job["error"]["code"]) == ("failed", "retention-without-rules")
    for body in (
        {"keep_last": 1, "labels": []},
        {"keep_within": "soon"},
    ):
        client.problem(400, "POST", "/api/v2/jobs", json={"kind": "prune"} | body)
    named = {"kind": "prune", "keep_last": 1, "backup": "a"}
    client.problem(422, "POST", "/api/v2/jobs", json=named)
    assert len(client.get("/api/v2/backups")["items"]) == 2


def test_a_prune_that_could_not_delete_everything_tells_what_is_left(client: Client, world: World) -> None:
    client.done(kind="backup", name="a")
    client.done(kind="backup", name="b")

    def fault(operation: str, what: str) -> None:
        if operation == "delete" and "/meta/" in what:
            raise StorageError("it does not go", retryable=False)

    world.backup.fault = fault
    job = client.over(client.job(kind="prune", keep_last=1))
    assert (job["state"], job["error"]["code"]) == ("partial", "prune-partial")
    assert sorted(item["outcome"] for item in job["result"]["backups"]) == ["failed", "kept"]


def test_a_gc_is_a_job_that_tells_what_it_found(client: Client, world: World) -> None:
    client.done(kind="backup", name="a")
    copy = "files/restore-temp-a-default-docs/insert_log/7-0123456789ab/11/100/5"
    world.storage.write(copy, [b"left"])
    world.backup.write("backup/bare/binlogs/insert_log/1/2/3/3/100/9", [b"left"])
    job = client.done(kind="gc")
    assert job["result"]["leftovers"] == [], "all of it is young"
    job = client.done(kind="gc", grace="0h")
    found = [(item["kind"], item["name"], item["outcome"]) for item in job["result"]["leftovers"]]
    assert found == [
        ("restore", "files/restore-temp-a-default-docs/", "removed"),
        ("backup", "bare", "removed"),
    ]
    assert job["result"]["deleted_objects"] == 2
    assert copy not in world.staged


def test_an_import_is_a_job_that_takes_a_backup_into_the_pool(client: Client, world: World) -> None:
    client.done(kind="backup", name="nightly")
    job = client.done(kind="import", backup="nightly")
    assert job["result"]["transfer"]["objects"].keys() == {"server"}
    assert client.get("/api/v2/backups/nightly")["format"] == "shared"
    assert not [key for key in world.backed_up if "/nightly/binlogs/" in key]
    client.done(kind="copy", backup="nightly", to="alone", layout="classic")
    assert client.get("/api/v2/backups/alone")["format"] == ""
    client.done(kind="restore", backup="nightly", suffix="_back")
    client.problem(
        422, "POST", "/api/v2/jobs", json={"kind": "copy", "backup": "a", "to": "b", "layout": "c"}
    )


def test_jobs_are_listed_newest_first_by_state_and_in_pages(client: Client) -> None:
    for number in range(3):
        client.done(kind="backup", name=f"b{number}", strategy="meta_only")
    client.over(client.job(kind="restore", backup="none"))
    first = client.get("/api/v2/jobs", limit=2)
    assert [item["backup"] for item in first["items"]] == ["none", "b2"]
    second = client.get("/api/v2/jobs", limit=2, cursor=first["next_cursor"])
    assert [item["backup"] for item in second["items"]] == ["b1", "b0"]
    assert second["next_cursor"] is None
    assert [item["backup"] for item in client.get("/api/v2/jobs", state=["failed"])["items"]] == ["none"]
    assert (
        client.get("/api/v2/jobs", state=["failed", "succeeded"], backup="b1")["items"][0]["backup"] == "b1"
    )
    assert client.get("/api/v2/jobs", kind="delete")["items"] == []
    client.problem(400, "GET", "/api/v2/jobs", params={"cursor": "!"})


def test_a_job_is_watched_by_its_events_and_the_stream_can_be_taken_up_again(client: Client) -> None:
    job = client.job(kind="backup", name="nightly")
    found = events(client, job)
    states = [data["state"] for _, kind, data in found if kind == "state"]
    assert states == ["queued", "running", "succeeded"]
    done = {data["collection"] for _, kind, data in found if kind == "collection"}
    assert done == {"default.docs", "default.notes", "shop.docs"}
    assert ("phase", {"phase": "commit", "collection": ""}) in [(kind, data) for _, kind, data in found]
    middle = found[3][0]
    assert events(client, job, **{"Last-Event-ID": str(middle)}) == found[4:]


def test_the_stream_of_a_running_job_tells_what_comes(client: Client, world: World) -> None:
    gate = Gate("flush")
    world.milvus.fault = gate
    job = client.job(kind="backup", name="nightly")
    assert gate.reached.wait(PATIENCE)
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(events(client, job)))
    reader.start()
    gate.open.set()
    reader.join(PATIENCE)
    assert got[-1][1:] == ("state", {"state": "succeeded", "attempt": 1})


def test_a_running_job_is_cancelled_in_order_and_resumed(client: Client, world: World) -> None:
    gate = Gate("copy")
    world.backup.fault = gate
    job = client.job(kind="backup", name="nightly")
    assert gate.reached.wait(PATIENCE)
    running = client.get(f"/api/v2/jobs/{job['id']}")
    assert (running["state"], running["resumable"]) == ("running", False)
    cancelled = client.ask("POST", f"/api/v2/jobs/{job['id']}:cancel")
    assert cancelled.status_code == 202
    gate.open.set()
    job = client.over(job)
    assert (job["state"], job["resumable"]) == ("cancelled", True)
    assert world.milvus.gc_paused == 0
    assert client.get("/api/v2/backups")["items"][0]["state"] == "incomplete"
    assert client.ask("POST", f"/api/v2/jobs/{job['id']}:resume").status_code == 202
    job = client.over(job)
    assert (job["state"], job["attempt"], job["progress"]["percent"]) == ("succeeded", 2, 100)
    assert client.get("/api/v2/backups/nightly")["id"] == job["id"]
    client.problem(409, "POST", f"/api/v2/jobs/{job['id']}:resume")
    client.problem(409, "POST", f"/api/v2/jobs/{job['id']}:cancel")


def test_a_waiting_job_is_cancelled_at_once(world: World, tmp_path: Path) -> None:
    gate = Gate("flush")
    world.milvus.fault = gate
    with serving(settings(tmp_path, jobs_concurrency=1), world) as client:
        first = client.job(kind="backup", name="first")
        waiting = client.job(kind="backup", name="second")
        assert client.post(f"/api/v2/jobs/{waiting['id']}:cancel")["state"] == "cancelled"
        gate.open.set()
        assert client.over(first)["state"] == "succeeded"
        assert [item["name"] for item in client.get("/api/v2/backups")["items"]] == ["first"]


def test_a_partial_restore_is_resumed_with_what_failed(client: Client, world: World) -> None:
    client.done(kind="backup", name="nightly")

    def refuse(call: str, what: str) -> None:
        if call == "create_collection" and what == "notes_back":
            raise StorageError("no space today")

    world.milvus.fault = refuse
    job = client.over(client.job(kind="restore", backup="nightly", suffix="_back"))
    assert (job["state"], job["resumable"]) == ("partial", True)
    assert {item["target"]: item["error"] for item in job["collections"] if item["state"] == "failed"} == {
        "default.notes_back": "no space today"
    }
    assert job["error"]["type"] == "urn:mbk:partial-failure"
    world.milvus.fault = lambda *_: None
    client.post(f"/api/v2/jobs/{job['id']}:resume")
    job = client.over(job)
    assert job["state"] == "succeeded", job
    assert world.milvus.visible_rows("notes_back") == world.milvus.visible_rows("notes")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_a_salvage_tells_what_is_lost_of_each_collection(client: Client, world: World) -> None:
    client.done(kind="backup", name="nightly")
    number = world.milvus.describe("default", "notes").id
    world.backup.delete([next(key for key in world.backed_up if f"/insert_log/{number}/" in key)])
    job = client.over(client.job(kind="restore", backup="nightly", suffix="_back"))
    assert (job["state"], job["error"]["type"]) == ("failed", "urn:mbk:damaged-backup")
    job = client.over(client.job(kind="restore", backup="nightly", suffix="_back", salvage=True))
    assert (job["state"], job["error"]["type"]) == ("partial", "urn:mbk:partial-failure")
    assert {item["target"]: item["state"] for item in job["collections"]} == {
        "default.docs_back": "done",
        "default.notes_back": "salvaged",
        "shop.docs_back": "done",
    }
    assert any("rows lost" in note for item in job["collections"] for note in item["notes"])


def test_a_resumed_restore_keeps_to_the_partitions_that_were_chosen(client: Client, world: World) -> None:
    world.milvus.add("parts", partitions=("_default", "hot"))
    world.milvus.insert("parts", range(3))
    world.milvus.insert("parts", range(3, 5), partition="hot")
    client.done(kind="backup", name="nightly")

    def refuse(call: str, what: str) -> None:
        if call == "create_collection" and what == "parts_back":
            raise StorageError("no space today")

    world.milvus.fault = refuse
    chosen = {"filter": "parts_back/hot,docs_back", "suffix": "_back"}
    job = client.over(client.job(kind="restore", backup="nightly", **chosen))
    assert job["state"] == "partial"
    world.milvus.fault = lambda *_: None
    client.post(f"/api/v2/jobs/{job['id']}:resume")
    assert client.over(job)["state"] == "succeeded"
    assert [key for key, _ in world.milvus.visible_rows("parts_back")] == [3, 4]


def test_an_idempotency_key_files_one_job(client: Client) -> None:
    body = {"kind": "backup", "name": "nightly"}
    key = {"Idempotency-Key": "tonight"}
    first = client.ask("POST", "/api/v2/jobs", json=body, headers=key)
    again = client.ask("POST", "/api/v2/jobs", json=body, headers=key)
    assert again.status_code == 202
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    told = client.problem(422, "POST", "/api/v2/jobs", json={**body, "rbac": True}, headers=key)
    assert told["type"] == "urn:mbk:key-reused"
    client.over(first.json())
    assert len(client.get("/api/v2/jobs")["items"]) == 1


def test_two_jobs_never_write_one_backup(client: Client, world: World) -> None:
    gate = Gate("flush")
    world.milvus.fault = gate
    job = client.job(kind="backup", name="nightly")
    assert gate.reached.wait(PATIENCE)
    told = client.problem(409, "POST", "/api/v2/jobs", json={"kind": "backup", "name": "nightly"})
    assert (told["type"], job["id"] in told["detail"]) == ("urn:mbk:busy", True)
    client.problem(409, "DELETE", "/api/v2/backups/nightly")
    gate.open.set()
    assert client.over(job)["state"] == "succeeded"


def test_two_servers_never_write_one_backup(client: Client, world: World, tmp_path: Path) -> None:
    gate = Gate("flush")
    world.milvus.fault = gate
    job = client.job(kind="backup", name="nightly")
    assert gate.reached.wait(PATIENCE)
    (tmp_path / "other").mkdir()
    with serving(settings(tmp_path / "other"), world) as other:
        deleted = other.over(other.delete("/api/v2/backups/nightly"))
        assert (deleted["state"], deleted["error"]["type"]) == ("failed", "urn:mbk:busy")
        gate.open.set()
        assert client.over(job)["state"] == "succeeded"
        assert other.get("/api/v2/backups/nightly")["state"] == "complete"


def test_more_jobs_than_may_wait_are_refused(world: World, tmp_path: Path) -> None:
    gate = Gate("flush")
    world.milvus.fault = gate
    with serving(settings(tmp_path, jobs_concurrency=1, jobs_queue=1), world) as client:
        jobs = [client.job(kind="backup", name=f"b{number}") for number in range(2)]
        answer = client.ask("POST", "/api/v2/jobs", json={"kind": "backup", "name": "b2"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
        gate.open.set()
        assert [client.over(job)["state"] for job in jobs] == ["succeeded"] * 2
        client.done(kind="backup", name="b2")


def test_a_stopped_server_interrupts_its_jobs_and_the_next_one_goes_on(world: World, tmp_path: Path) -> None:
    gate = Gate("copy")
    world.backup.fault = gate
    with serving(settings(tmp_path, jobs_concurrency=1), world) as client:
        running = client.job(kind="backup", name="running")
        waiting = client.job(kind="backup", name="waiting")
        assert gate.reached.wait(PATIENCE)
        threading.Timer(0.2, gate.open.set).start()
    assert world.milvus.gc_paused == 0
    assert not [key for key in world.objects("backups") if ".mbk/" in key], "leases are given back"
    with serving(settings(tmp_path), world) as client:
        job = client.get(f"/api/v2/jobs/{running['id']}")
        assert (job["state"], job["resumable"]) == ("interrupted", True)
        assert client.over(waiting)["state"] == "succeeded"
        client.post(f"/api/v2/jobs/{running['id']}:resume")
        assert client.over(running)["state"] == "succeeded"


def test_a_job_of_a_killed_server_comes_back_as_interrupted(world: World, tmp_path: Path) -> None:
    """What a kill leaves is a job that says it runs."""
    with serving(settings(tmp_path), world) as client:
        job = client.done(kind="backup", name="nightly")
        store = client.service.runner.store
        store._db.execute(
            "UPDATE jobs SET state = 'running', body = json_set(body, '$.state', 'running') WHERE id = ?",
            (job["id"],),
        )
    with serving(settings(tmp_path), world) as client:
        found = client.get(f"/api/v2/jobs/{job['id']}")
        assert (found["state"], found["resumable"]) == ("interrupted", True)
        client.post(f"/api/v2/jobs/{job['id']}:resume")
        assert client.over(job)["state"] == "succeeded", (
            "the backup was committed before the kill, and is its own"
        )


def test_a_resumed_job_takes_nobody_elses_backup(world: World, tmp_path: Path) -> None:
    gate = Gate("connect")
    world.milvus.fault = gate
    with serving(settings(tmp_path), world) as client:
        job = client.job(kind="backup", name="nightly")
        assert gate.reached.wait(PATIENCE)
        client.post(f"/api/v2/jobs/{job['id']}:cancel")
        gate.open.set()
        assert client.over(job)["state"] == "cancelled"
        client.done(kind="backup", name="nightly")
        client.post(f"/api/v2/jobs/{job['id']}:resume")
        job = client.over(job)
        assert (job["state"], job["error"]["type"]) == ("failed", "urn:mbk:backup-exists")


def test_old_jobs_are_forgotten(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        old = client.done(kind="backup", name="old")
        client.service.runner.store._db.execute("UPDATE jobs SET finished = 1")
    with serving(settings(tmp_path), world) as client:
        client.problem(404, "GET", f"/api/v2/jobs/{old['id']}")
        assert client.get("/api/v2/backups/old")["state"] == "complete", "the backup itself stays"


def test_zone_keys_are_never_shown_nor_written_down(world: World, tmp_path: Path) -> None:
    secret = "zone-key-never-to-be-seen"
    with serving(settings(tmp_path), world, secrets=(secret,)) as client:
        client.done(kind="backup", name="nightly")
        body = {"kind": "restore", "backup": "nightly", "suffix": "_back", "ezk_mapping": {"a": secret}}
        job = client.over(client.job(**body))
        assert job["params"]["ezk_mapping"] == "***"
        client.get("/api/v2/jobs")
    for path in tmp_path.rglob("*"):
        assert secret.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "backup", "name": "9 lives"}, 400),
        ({"kind": "backup", "filter": "a..b"}, 400),
        ({"kind": "backup", "nmae": "x"}, 422),
        ({"kind": "compress"}, 422),
        ({"kind": "restore"}, 400),
        ({"kind": "restore", "backup": "b", "suffix": "_x", "rename": {"a": "b"}}, 400),
        ({"kind": "restore", "backup": "b", "drop_existing": True, "skip_create": True}, 400),
        ({"kind": "restore", "backup": "b", "mapping": [{"sorce": "a"}]}, 400),
        ([], 422),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_a_problem_and_no_job(client: Client, body: Any, status: int) -> None:
    told = client.problem(status, "POST", "/api/v2/jobs", json=body)
    assert told["detail"]
    assert client.get("/api/v2/jobs")["items"] == []


def test_one_jobs_file_serves_one_server(world: World, tmp_path: Path) -> None:
    with (
        serving(settings(tmp_path), world),
        raised(UsageError, "jobs-file-in-use", path=str(tmp_path / "jobs.db")),
        serving(settings(tmp_path), world),
    ):
        pass


def test_a_backup_is_copied_byte_for_byte_to_another_place(client: Client, world: World) -> None:
    client.done(kind="backup", name="nightly")
    job = client.done(kind="copy", backup="nightly", to_path="archive")
    originals = world.objects("backups", "backup/nightly/")
    copies = world.objects("backups", "archive/nightly/")
    assert {key.removeprefix("archive/"): data for key, data in copies.items()} == {
        key.removeprefix("backup/"): data for key, data in originals.items()
    }
    assert job["progress"]["objects"] == len(originals)
    client.done(kind="restore", backup="nightly", path="archive", suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    again = client.done(kind="copy", backup="nightly", to_path="archive")
    assert again["progress"]["objects"] == len(originals)
    client.done(kind="copy", backup="nightly", to="weekly")
    assert client.get("/api/v2/backups/weekly")["state"] == "complete"


def test_a_copy_that_was_stopped_is_no_backup_and_is_gone_on_with(client: Client, world: World) -> None:
    client.done(kind="backup", name="nightly")

    def stop(operation: str, what: str) -> None:
        # A copy that fails is streamed instead.
        if operation in ("copy", "write") and what.endswith("full_meta.json"):
            raise StorageError("cut off")

    world.backup.fault = stop
    job = client.over(client.job(kind="copy", backup="nightly", to_path="archive"))
    assert (job["state"], job["resumable"]) == ("failed", True)
    assert client.get("/api/v2/backups", path="archive")["items"][0]["state"] == "incomplete"
    world.backup.fault = lambda *_: None
    client.post(f"/api/v2/jobs/{job['id']}:resume")
    assert client.over(job)["state"] == "succeeded"
    assert client.get("/api/v2/backups/nightly", path="archive")["state"] == "complete"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"to_path": "../x"},
        {"to_bucket": "a/b"},
        {"to": "/etc/x"},
        {"to": "s3://anybody/x/"},
        {"to": "site@", "to_path": "x"},
        {"to": "site@../x/"},
        {"to": "weekly", "backup": "./secrets"},
    ],
    ids=str,
)
def test_a_copy_has_a_place_to_go_to(client: Client, body: Any) -> None:
    client.problem(400, "POST", "/api/v2/jobs", json={"kind": "copy", "backup": "nightly"} | body)


def test_a_copy_onto_itself_is_refused(client: Client) -> None:
    client.done(kind="backup", name="nightly")
    job = client.over(client.job(kind="copy", backup="nightly", to_path="backup"))
    assert (job["state"], job["error"]["type"]) == ("failed", "urn:mbk:usage-error")


def test_a_standby_needs_a_server_that_can_replicate(client: Client) -> None:
    client.done(kind="backup", name="nightly")
    job = client.over(client.job(kind="secondary", backup="nightly", source_cluster="a", target_cluster="b"))
    assert (job["state"], job["error"]["type"]) == ("failed", "urn:mbk:usage-error")
    assert "2.6.11" in job["error"]["detail"], job["error"]


def test_a_restore_that_was_cancelled_is_resumed_without_loss_or_doubling(
    client: Client, world: World
) -> None:
    client.done(kind="backup", name="nightly")
    gate = Gate("start_import", "notes_back")
    world.milvus.fault = gate
    job = client.job(kind="restore", backup="nightly", suffix="_back")
    assert gate.reached.wait(PATIENCE)
    client.post(f"/api/v2/jobs/{job['id']}:cancel")
    gate.open.set()
    job = client.over(job)
    assert (job["state"], job["resumable"]) == ("cancelled", True)
    assert not [key for key in world.objects("milvus") if ".mbk/" in key]
    client.post(f"/api/v2/jobs/{job['id']}:resume")
    assert client.over(job)["state"] == "succeeded"
    for name, database in (("docs", "default"), ("notes", "default"), ("docs", "shop")):
        rows = world.milvus.visible_rows(name, database=database)
        assert world.milvus.visible_rows(f"{name}_back", database=database) == rows


def test_a_restore_with_zone_keys_is_not_resumed_by_another_server(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        body = {"kind": "restore", "backup": "none", "ezk_mapping": {"a": "b"}}
        job = client.over(client.job(**body))
        store = client.service.runner.store
        store._db.execute(
            "UPDATE jobs SET state = 'running', body = json_set(body, '$.state', 'running', '$.error', null)"
        )
    with serving(settings(tmp_path), world) as client:
        found = client.get(f"/api/v2/jobs/{job['id']}")
        assert (found["state"], found["resumable"]) == ("interrupted", False)
        client.problem(409, "POST", f"/api/v2/jobs/{job['id']}:resume")
        with raised(WrongState, "job-secrets-lost", job=job["id"]):
            client.service.runner.resume(job["id"])


def test_a_full_disk_under_the_jobs_file_fails_no_backup(world: World, tmp_path: Path) -> None:
    gate = Gate("flush")
    world.milvus.fault = gate
    with serving(settings(tmp_path), world) as client:
        job = client.job(kind="backup", name="nightly")
        assert gate.reached.wait(PATIENCE)
        client.service.runner.store._db.execute("PRAGMA query_only = ON")
        over = client.service.runner.over(job["id"])
        gate.open.set()
        assert over.result(PATIENCE).state == "succeeded"
        client.problem(500, "POST", "/api/v2/jobs", json={"kind": "backup", "name": "next"})
        with raised(MbkError, "jobs-file-write-failed"):
            client.service.runner.store.forget(before=0)
        client.service.runner.store._db.execute("PRAGMA query_only = OFF")


def test_a_job_that_gets_no_thread_fails_and_says_so(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        client.ask("GET", "/api/v2/jobs")  # a thread that answers requests is there
        threading.stack_size(1 << 46)  # each further one would need more memory than there are addresses
        try:
            job = client.job(kind="backup", name="nightly")
        finally:
            threading.stack_size(0)
        ended = client.over(job)
        assert (ended["state"], ended["error"]["code"]) == ("failed", "threads-exhausted")
        assert "ulimit" in ended["error"]["hint"]
        client.done(kind="backup", name="nightly")
