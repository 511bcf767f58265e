"""Metrics of a run at its exit, for a CronJob: written, pushed or printed, and never in the way of the result."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mbk.errors import PartialFailure, StorageUnavailable
from mbk.model.events import ObjectCopied, RetryScheduled
from mbk.model.reports import CollectionOutcome, TransferStats
from tests.cli.conftest import Run, Session, report

DONE = CollectionOutcome("default.docs", "default.docs", "done", size=40)


def copied(session: Session) -> None:
    session.events = [
        ObjectCopied(collection="default.docs", key="k", size=40, how="server"),
        RetryScheduled(what="x", attempt=1, delay=0.1, error="busy"),
    ]
    session.result = report("create", DONE)


class _Gateway(BaseHTTPRequestHandler):
    got: list[tuple[str, str]] = []  # noqa: RUF012 - one a test

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.got.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    _Gateway.got.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_an_incremental_backup_added(run: Run, session: Session, tmp_path: Path) -> None:
    sizes = {"server": 40, "kept": 2, "reused": 1000}
    session.result = report("create", DONE, transfer=TransferStats(bytes=sizes))
    assert run("create", "-n", "nightly", "--incremental", "--metrics-file", "mbk.prom").code == 0
    assert 'mbk_last_run_added_bytes{kind="backup"} 42.0' in (tmp_path / "mbk.prom").read_text()


def test_a_file_for_the_textfile_collector(run: Run, session: Session, tmp_path: Path) -> None:
    copied(session)
    assert run("create", "-n", "nightly", "--metrics-file", "deep/mbk.prom").code == 0
    text = (tmp_path / "deep/mbk.prom").read_text()
    assert 'mbk_copied_bytes_total{kind="backup",way="server"} 40.0' in text
    assert 'mbk_retries_total{kind="backup"} 1.0' in text
    assert 'mbk_runs_total{kind="backup",state="succeeded"} 1.0' in text
    assert 'mbk_last_run_success{kind="backup"} 1.0' in text
    assert 'mbk_newest_backup_size_bytes{collection="docs",database="default"} 40.0' in text
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["mbk.prom"]


def test_pushed_to_a_gateway(run: Run, session: Session, gateway: str) -> None:
    copied(session)
    assert run("create", "-n", "nightly", "--push-gateway", gateway).code == 0
    ((path, body),) = _Gateway.got
    assert path == "/metrics/job/mbk_backup"
    assert 'mbk_last_run_success{kind="backup"} 1.0' in body


def test_printed_beside_the_result(run: Run, session: Session) -> None:
    copied(session)
    result = run("create", "-n", "nightly", "--metrics-file", "-", "-o", "json")
    assert "mbk_last_run_success" in result.err
    assert "mbk_" not in result.out


def test_a_failed_and_a_partial_run_are_told_too(run: Run, session: Session, tmp_path: Path) -> None:
    session.error = StorageUnavailable("down")
    assert run("create", "-n", "nightly", "--metrics-file", "m.prom").code == 7
    assert 'mbk_last_run_success{kind="backup"} 0.0' in (tmp_path / "m.prom").read_text()
    failed = CollectionOutcome("default.notes", "default.notes", "failed", error="no")
    session.error = PartialFailure("1 of 2", report=report("create", DONE, failed))
    assert run("create", "-n", "nightly", "--metrics-file", "m.prom").code == 3
    text = (tmp_path / "m.prom").read_text()
    assert 'mbk_runs_total{kind="backup",state="partial"} 1.0' in text
    assert 'collection="docs"' in text
    assert 'collection="notes"' not in text


@pytest.mark.parametrize(
    "where",
    [["--metrics-file", "/proc/no/such"], ["--push-gateway", "http://user:hunter2@127.0.0.1:1"]],
    ids=str,
)
def test_what_cannot_be_told_changes_nothing(run: Run, session: Session, where: list[str]) -> None:
    copied(session)
    result = run("create", "-n", "nightly", *where)
    assert result.code == 0
    assert "mbk: warning" in result.err
    assert "hunter2" not in result.err


def test_they_load_no_web_framework_and_nothing_of_the_server() -> None:
    code = """
import sys
from mbk.cli.main import main
sys.argv = "mbk create --metrics-file - --set minio.storageType=local,minio.rootPath=x,milvus.port=1".split()
try:
    main()
except SystemExit as exit:
    assert exit.code, exit.code
print(*sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'mbk_last_run_success{kind="backup"} 0.0' in run.stderr
    loaded = set(run.stdout.split())
    assert "mbk.observe.run_metrics" in loaded
    assert not loaded & {"mbk.api", "mbk.jobs", "fastapi", "starlette", "uvicorn"}
