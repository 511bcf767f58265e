"""What a run shows while it lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from mbk.cli.progress import Listener
from mbk.errors import CollectionNotFound
from mbk.model.events import (
    CollectionFinished,
    ImportProgressed,
    Notice,
    ObjectCopied,
    RetryScheduled,
    RunFinished,
    WorkPlanned,
)
from tests.cli.conftest import Run, Session

SHOWN = """
    import contextlib, sys, time
    from mbk.cli.app import App
    from mbk.cli.progress import listening
    from mbk.model.events import *

    with listening(App(quiet={quiet})) as listener:
        listener(PhaseStarted(phase="copy", collection="default.a"))
        listener(WorkPlanned(collection="default.a", objects=4, size=4 * 1024))
        for number in range(2):
            listener(ObjectCopied(collection="default.a", key=str(number), size=1024, how="server"))
        time.sleep(0.2)
        listener(ImportProgressed(collection="default.a", job="1", percent=40))
        listener(Notice(code="n", message="look here"))
        listener(RetryScheduled(what="copy", attempt=1, delay=0.5, error="slow down"))
        time.sleep(0.3)
"""


def on_a_terminal(code: str) -> str:
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "140"}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux says EIO when the last writer has gone
                break
            if not chunk:
                break
            seen += chunk
    os.close(ours)
    assert process.returncode == 0
    return seen.decode()


def test_a_terminal_shows_bytes_objects_jobs_and_the_phase() -> None:
    seen = on_a_terminal(SHOWN.format(quiet=False))
    for text in (
        "copy default.a",
        "2.0/4.0 KiB",
        "2/4 objects",
        "0/1 jobs",
        "look here",
        "slow down; attempt 2",
    ):
        assert text in seen, text


def test_quiet_shows_nothing_on_a_terminal() -> None:
    assert on_a_terminal(SHOWN.format(quiet=True)) == ""


def test_a_pipe_sees_no_bar(run: Run, session: Session) -> None:
    session.events = [
        WorkPlanned(collection="default.a", objects=1, size=1),
        ObjectCopied(collection="default.a", key="k", size=1, how="server"),
        RetryScheduled(what="copy", attempt=1, delay=0.5, error="slow down"),
        ImportProgressed(collection="default.a", job="1", percent=1),
    ]
    assert run("create").err == ""


def test_a_notice_names_its_collection_once(run: Run, session: Session) -> None:
    session.events = [
        Notice(code="load-failed", message="default.a: it has no index", collection="default.a"),
        Notice(code="load-failed", message="it has no index", collection="default.b"),
    ]
    assert run("restore", "nightly").err.splitlines() == [
        "mbk: warning: default.a: it has no index",
        "mbk: warning: default.b: it has no index",
    ]


def test_a_failure_that_ends_the_run_is_told_once(run: Run, session: Session) -> None:
    gone = "collection default.a does not exist"
    finished = RunFinished(command="create", name="n", seconds=0.1, error=gone)
    session.error = CollectionNotFound(gone)
    session.events = [CollectionFinished(collection="default.a", outcome="failed", error=gone), finished]
    assert run("create").err.splitlines() == [f"mbk: error: {gone}"]


def test_a_failure_beside_which_the_run_goes_on_is_told_at_once(run: Run, session: Session) -> None:
    session.error = CollectionNotFound("two collections are gone")
    session.events = [
        CollectionFinished(collection="default.a", outcome="failed", error="a is gone"),
        CollectionFinished(collection="default.b", outcome="failed", error="b is gone"),
        RunFinished(command="create", name="n", seconds=0.1, error="two collections are gone"),
    ]
    assert run("create").err.splitlines() == [
        "mbk: warning: default.a: a is gone",
        "mbk: warning: default.b: b is gone",
        "mbk: error: two collections are gone",
    ]


def test_totals_grow_as_work_becomes_known() -> None:
    listener = Listener()
    for _ in range(3):
        listener(WorkPlanned(collection="a", objects=2, size=10))
        listener(ObjectCopied(collection="a", key="k", size=5, how="kept"))
    assert (listener.total_objects, listener.total_bytes, listener.objects, listener.bytes) == (6, 30, 3, 15)
