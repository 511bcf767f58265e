"""What a run shows while it lasts."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
import textwrap
import time

import pytest

from mbk.cli.app import App
from mbk.cli.progress import listening
from mbk.errors import CollectionNotFound
from mbk.model.events import (
    CollectionFinished,
    ImportProgressed,
    Notice,
    ObjectCopied,
    PhaseStarted,
    RetryScheduled,
    RunFinished,
    RunStarted,
    WorkExpected,
)
from tests.cli.conftest import Run, Session

SHOWN = """
    import contextlib, sys, time
    from mbk.cli.app import App
    from mbk.cli.progress import listening
    from mbk.model.events import *

    with listening(App(quiet={quiet})) as listener:
        listener(RunStarted(command="restore", name="nightly"))
        time.sleep(0.3)
        for name in ("default.a", "default.b"):
            listener(PhaseStarted(phase="waiting", collection=name))
            listener(WorkExpected(collection=name, objects=4, size=4 * 1024, jobs=2))
        listener(PhaseStarted(phase="stage", collection="default.a"))
        for number in range(2):
            listener(ObjectCopied(collection="default.a", key=str(number), size=1024, how="server"))
        time.sleep(0.3)
        listener(PhaseStarted(phase="import", collection="default.a"))
        listener(ImportProgressed(collection="default.a", job="1", percent=100))
        listener(Notice(code="n", message="look here"))
        listener(RetryScheduled(what="copy", attempt=1, delay=0.5, error="slow down"))
        time.sleep(0.3)
        listener(PhaseStarted(phase="index", collection="default.a"))
        listener(IndexProgressed(collection="default.a", rows=1200, total=3000))
        time.sleep(0.3)
        listener(PhaseStarted(phase="stage", collection="default.b"))
        listener(PhaseStarted(phase="load", collection="default.a"))
        listener(LoadProgressed(collection="default.a", percent=50))
        time.sleep(0.3)
"""


def on_a_terminal(code: str, *, columns: int = 120, **variables: str) -> str:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm-256color"} | variables,
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


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_what_is_under_way_and_how_much_there_is_of_it(columns: int) -> None:
    """From the first moment on; bytes, objects, collections, imports and indexes, each of a total that was known before."""
    seen = on_a_terminal(SHOWN.format(quiet=False), columns=columns)
    for text in (
        "restore nightly: connect",
        "2.0/8.0 KiB  2/8 objects",
        "0/2 collections",
        "1/4 import jobs",
        "1/2 jobs",
        "restore nightly: index",
        "1200/3000 rows",
        "load  50 %",
        "restore nightly: stage, load",
        "look here",
        "slow down; attempt 2",
    ):
        assert text in seen, text
    assert "left" not in seen
    assert max(map(len, plain(seen))) < columns


def plain(seen: str) -> list[str]:
    """The lines without what moves the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen).replace("\r", "\n").splitlines()


@pytest.mark.parametrize("columns", [50, 80])
def test_a_long_name_is_cut_and_every_number_stays(columns: int) -> None:
    long = "default.a_collection_with_a_rather_long_name_which_no_terminal_of_this_width_has_room_for"
    seen = on_a_terminal(SHOWN.format(quiet=False).replace("default.a", long), columns=columns)
    assert max(map(len, plain(seen))) < columns
    assert columns < 80 or "1200/3000 rows" in seen


def test_a_dumb_terminal_gets_lines() -> None:
    seen = on_a_terminal(SHOWN.format(quiet=False), TERM="dumb")
    assert "\x1b" not in seen
    assert "restore nightly: " in seen
    assert "import: " in seen


def test_plain_lines_can_be_asked_for_on_a_terminal() -> None:
    code = SHOWN.format(quiet=False).replace("quiet=False", 'progress="plain"')
    assert not re.search(r"\x1b\[[0-9;?]*[^0-9;?m]", on_a_terminal(code))


def test_no_color_is_no_color() -> None:
    assert not re.search(r"\x1b\[[0-9;]*m", on_a_terminal(SHOWN.format(quiet=False), NO_COLOR="1"))


def test_quiet_shows_nothing_on_a_terminal() -> None:
    assert on_a_terminal(SHOWN.format(quiet=True)) == ""


EVENTS = [
    RunStarted(command="create", name="nightly"),
    PhaseStarted(phase="inventory"),
    WorkExpected(collection="default.a", objects=2, size=3 * 1024),
    WorkExpected(collection="default.b", objects=1, size=1024),
    PhaseStarted(phase="copy", collection="default.a"),
    ObjectCopied(collection="default.a", key="k", size=1024, how="server"),
    PhaseStarted(phase="copy", collection="default.b"),
    RetryScheduled(what="copy", attempt=1, delay=0.5, error="slow down"),
    PhaseStarted(phase="commit"),
]


def test_a_pipe_sees_a_line_for_each_phase(run: Run, session: Session) -> None:
    session.events = [*EVENTS]
    told = re.sub(r"nightly: [0-9.]+ s|, [0-9.]+ KiB/s", "", run("create").err).splitlines()
    assert told == [
        "mbk: create : inventory",
        "mbk: create : copy: 0/2 collections",
        "mbk: create : commit: 25 %, 1.0/4.0 KiB, 1/3 objects, 0/2 collections",
    ]


def test_a_pipe_is_not_silent_for_long(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(App(progress="plain"), every=0.01) as listener:
        listener(RunStarted(command="restore", name="nightly"))
        listener(WorkExpected(collection="default.a", jobs=2))
        listener(PhaseStarted(phase="import", collection="default.a"))
        for _ in range(1000):
            listener(ImportProgressed(collection="default.a", job="1", percent=100))
            time.sleep(0.01)
            if (err := capsys.readouterr().err).endswith("1/2 import jobs\n"):
                break
    assert "restore nightly: " in err


@pytest.mark.parametrize("options", [("--progress", "none"), ("-q",)])
def test_progress_can_be_left_out(options: tuple[str, ...], run: Run, session: Session) -> None:
    session.events = [*EVENTS]
    assert run("create", *options).err == ""


def test_programs_read_progress_as_json(run: Run, session: Session) -> None:
    session.events = [*EVENTS]
    told = [json.loads(line) for line in run("create", "--progress", "json").err.splitlines()]
    assert [item["phase"] for item in told] == ["inventory", "copy", "commit", "commit"]
    last = told[-1]
    assert (last["schema_version"], last["kind"], last["run"]) == (1, "progress", "create nightly")
    assert (last["bytes"], last["bytes_total"], last["objects"], last["objects_total"]) == (1024, 4096, 1, 3)
    assert (last["collections"], last["collections_total"], last["seconds_left"]) == (0, 2, None)


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
