"""Health, metrics, traces, and those who are told when a job has ended."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mbk.api.ready import SILENT
from mbk.errors import MilvusUnavailable, StorageError, StorageUnavailable
from tests.api.harness import PATIENCE, Client, Gate, docs_world, serving, settings
from tests.fakes.world import World


def metrics(client: Client) -> dict[str, float]:
    text = client.ask("GET", "/metrics").text
    return {
        name: float(value)
        for name, value in re.findall(r"^([^#\s]\S*(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    }


# -- health ------------------------------------------------------------------------------------------------------


def test_a_server_is_ready_when_milvus_and_both_storages_answer(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        assert client.get("/readyz") == {
            "status": "ok",
            "milvus": "ok",
            "storage": "ok",
            "backup_storage": "ok",
        }


@pytest.mark.parametrize("part", ["milvus", "storage", "backup_storage"])
def test_what_is_down_is_named_and_the_server_itself_lives(part: str, tmp_path: Path) -> None:
    world = docs_world()

    def refuse(operation: str, what: str) -> None:
        raise (MilvusUnavailable if part == "milvus" else StorageUnavailable)("secret-host: nobody answers")

    broken: Any = {"milvus": world.milvus, "storage": world.storage, "backup_storage": world.backup}[part]
    broken.fault = refuse
    with serving(settings(tmp_path), world, secrets=("secret-host",)) as client:
        answer = client.ask("GET", "/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "down",
            "milvus": "ok",
            "storage": "ok",
            "backup_storage": "ok",
            part: "down",
        }
        assert client.get("/healthz") == {"status": "ok"}


def test_an_answer_that_is_not_there_yet_is_not_down(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mbk.api.ready.Readiness.answers",
        lambda _: {"milvus": "ok", "storage": SILENT, "backup_storage": "ok"},
    )
    with serving(settings(tmp_path), world) as client:
        answer = client.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()["status"], answer.json()["storage"]) == (
        503,
        "unknown",
        "unknown",
    )


# -- progress ----------------------------------------------------------------------------------------------------


def test_a_running_job_tells_totals_and_what_each_collection_is_at(world: World, tmp_path: Path) -> None:
    gate = Gate("copy")
    world.backup.fault = gate
    with serving(settings(tmp_path), world) as client:
        job = client.job(kind="backup", name="nightly")
        assert gate.reached.wait(PATIENCE)
        told = client.get(f"/api/v2/jobs/{job['id']}")["progress"]
        gate.open.set()
        ended = client.over(job)["progress"]
    assert told["steps"]
    assert {step["phase"] for step in told["steps"]} <= {"flush", "copy"}
    assert (told["objects"], told["objects_total"]) == (0, ended["objects"])
    assert told["bytes_total"] == ended["bytes"]
    assert told["collections_total"] == ended["collections"] == 3
    assert ended["steps"] == []


# -- metrics -----------------------------------------------------------------------------------------------------


def test_metrics_of_jobs_copies_and_backups(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        made = client.done(kind="backup", name="nightly")
        client.over(client.job(kind="restore", backup="none"))
        found = metrics(client)
        assert found['mbk_jobs{kind="backup",state="succeeded"}'] == 1
        assert found['mbk_jobs{kind="restore",state="failed"}'] == 1
        assert found['mbk_runs_total{kind="backup",state="succeeded"}'] == 1
        assert found['mbk_run_duration_seconds_count{kind="backup"}'] == 1
        assert found['mbk_phase_duration_seconds_count{kind="backup",phase="flush"}'] == 3
        assert found['mbk_copied_bytes_total{kind="backup",way="server"}'] == made["progress"]["bytes"]
        assert found['mbk_copied_objects_total{kind="backup",way="server"}'] == made["progress"]["objects"]
        assert found["mbk_backup_storage_up"] == 1
        for database, name in (("default", "docs"), ("shop", "docs"), ("default", "notes")):
            labels = f'{{collection="{name}",database="{database}"}}'
            size = next(
                item["size"] for item in made["collections"] if item["source"] == f"{database}.{name}"
            )
            assert found[f"mbk_newest_backup_size_bytes{labels}"] == size
            assert 0 <= found[f"mbk_newest_backup_age_seconds{labels}"] < 3600
        client.over(client.delete("/api/v2/backups/nightly"))
        assert not [name for name in metrics(client) if name.startswith("mbk_newest")]


def test_what_each_backup_holds_added_and_frees(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        client.done(kind="backup", name="whole")
        client.done(kind="backup", name="first", incremental=True)
        world.milvus.insert("docs", range(10, 20))
        client.done(kind="backup", name="second", incremental=True)
        found = metrics(client)
        listed = {item["name"]: item for item in client.get("/api/v2/backups")["items"]}
    for name in ("first", "second"):
        for what in ("size", "added", "frees"):
            assert found[f'mbk_backup_{what}_bytes{{backup="{name}"}}'] == listed[name][what]
    assert 0 < listed["second"]["added"] == listed["second"]["frees"] < listed["second"]["size"]
    assert found['mbk_backup_size_bytes{backup="whole"}'] == listed["whole"]["size"]
    assert 'mbk_backup_added_bytes{backup="whole"}' not in found


def test_a_newer_backup_counts_and_one_that_failed_does_not(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        client.done(kind="backup", name="first", filter="docs")
        world.milvus.insert("docs", range(10, 1000))
        second = client.done(kind="backup", name="second", filter="docs")

        def refuse(call: str, what: str) -> None:
            if call == "segments":
                raise StorageError("not today")

        world.milvus.fault = refuse
        client.over(client.job(kind="backup", name="third", filter="docs"))
        found = metrics(client)
        assert (
            found['mbk_newest_backup_size_bytes{collection="docs",database="default"}']
            == second["result"]["size"]
        )


def test_retries_are_counted(world: World, tmp_path: Path) -> None:
    left = [2]

    def shaky(operation: str, what: str) -> None:
        if operation == "copy" and left[0]:
            left[0] -= 1
            raise StorageUnavailable("busy")

    world.backup.fault = shaky
    with serving(settings(tmp_path), world) as client:
        job = client.done(kind="backup", name="nightly")
        assert job["progress"]["retries"] == 2
        assert metrics(client)['mbk_retries_total{kind="backup"}'] == 2


def test_metrics_come_also_when_the_storage_is_down(world: World, tmp_path: Path) -> None:
    def refuse(operation: str, what: str) -> None:
        raise StorageUnavailable("down")

    world.backup.fault = refuse
    with serving(settings(tmp_path), world) as client:
        assert metrics(client)["mbk_backup_storage_up"] == 0


# -- traces ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """The one provider that a process can have."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    return found


def test_every_phase_of_a_job_is_a_span_below_the_jobs(
    exporter: InMemorySpanExporter, world: World, tmp_path: Path
) -> None:
    with serving(settings(tmp_path), world) as client:
        exporter.clear()
        job = client.done(kind="backup", name="nightly", filter="docs")
        client.over(client.job(kind="restore", backup="none"))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    whole = spans["mbk.backup"]
    assert whole.attributes is not None
    assert whole.attributes["mbk.job.id"] == job["id"]
    assert whole.attributes["mbk.state"] == "succeeded"
    for phase in ("flush", "copy"):
        span = spans[f"mbk.phase.{phase}"]
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        assert dict(span.attributes or {}) == {"mbk.collection": "default.docs"}
    assert not spans["mbk.restore"].status.is_ok


# -- those who are told ------------------------------------------------------------------------------------------


class _Listener(BaseHTTPRequestHandler):
    got: list[Any] = []  # noqa: RUF012 - one server a test
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).got.append(json.loads(body))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[str]:
    _Listener.got, _Listener.status = [], 200
    with ThreadingHTTPServer(("127.0.0.1", 0), _Listener) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook?token=hunter2"
        server.shutdown()
        thread.join()


def test_a_url_is_told_of_success_and_of_failure(listener: str, world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path, on_success=listener, on_failure=listener), world) as client:
        client.done(kind="backup", name="nightly", filter="docs")
        client.over(client.job(kind="restore", backup="none"))
    first, second = _Listener.got
    assert (first["kind"], first["backup"], first["state"]) == ("backup", "nightly", "succeeded")
    assert first["collections"] == {"default.docs": "done"}
    assert (second["state"], "none" in second["error"]) == ("failed", True)


def test_a_command_is_told(world: World, tmp_path: Path) -> None:
    script = tmp_path / "told.py"
    script.write_text(
        "import json, os, pathlib, sys\n"
        "job = json.load(sys.stdin)\n"
        "pathlib.Path(sys.argv[1]).write_text(os.environ['MBK_JOB_STATE'] + ' ' + job['backup'])\n"
    )
    seen = tmp_path / "seen"
    with serving(settings(tmp_path, on_failure=f"{sys.executable} {script} {seen}"), world) as client:
        client.over(client.job(kind="restore", backup="none"))
        client.done(kind="backup", name="nightly")
    assert seen.read_text() == "failed none"


def test_a_command_does_not_get_the_credentials_of_the_server(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIO_SECRET_KEY", "hunter2")
    monkeypatch.setenv("MBK_HOOK_TOKEN", "its own")
    script, seen = tmp_path / "told.py", tmp_path / "seen"
    script.write_text("import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))")
    with serving(settings(tmp_path, on_success=f"{sys.executable} {script} {seen}"), world) as client:
        client.done(kind="backup", name="nightly")
    got = json.loads(seen.read_text())
    assert got["MBK_HOOK_TOKEN"] == "its own"
    assert "PATH" in got
    assert "hunter2" not in got.values()


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/?token=hunter2", "false hunter2", "/no/such hunter2", "'hunter2", "500"]
)
def test_whoever_cannot_be_told_changes_no_result(
    target: str, listener: str, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if target == "500":
        target, _Listener.status = listener, 500
    with serving(settings(tmp_path, on_success=target), world) as client:
        client.done(kind="backup", name="nightly")
    assert "the notification failed" in caplog.text
    assert "hunter2" not in caplog.text
