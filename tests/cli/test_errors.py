"""From an error to one line and an exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mbk import errors
from mbk.errors import BackupNotFound, ConfigError, MbkError, Problem
from tests.cli.conftest import Run, Session, report


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.MbkError("m"), 1),
        (errors.InvalidBackup("m"), 1),
        (errors.StorageFull("m"), 1),
        (errors.UnknownStorage("m"), 2),
        (errors.MissingDependency("m"), 2),
        (errors.InvalidName("m"), 2),
        (errors.PartialFailure("m", report=report()), 3),
        (errors.BackupNotFound("m"), 4),
        (errors.BucketNotFound("m"), 4),
        (errors.BackupExists("m"), 5),
        (errors.CollectionExists("m"), 5),
        (errors.AuthenticationFailed("m"), 6),
        (errors.PermissionDenied("m"), 6),
        (errors.StorageUnavailable("m"), 7),
        (errors.MilvusUnavailable("m"), 7),
        (errors.VerificationFailed("m"), 8),
        (errors.Interrupted("m"), 130),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_condition_has_its_exit_code_and_one_line(
    error: BaseException, code: int, run: Run, session: Session
) -> None:
    session.error = error
    result = run("create", "-n", "nightly")
    assert result.code == code
    assert result.err.startswith("mbk: ")
    assert result.err.count("\n") == 1
    assert session.closed


def test_the_line_says_what_and_how_to_mend(run: Run, session: Session) -> None:
    session.error = errors.BackupNotFound("backup 'x' is not there", hint="mbk list shows all")
    assert run("get", "x").err == "mbk: error: backup 'x' is not there: mbk list shows all\n"


def test_every_problem_of_the_configuration_has_its_line(run: Run) -> None:
    Path("backup.yaml").write_text("milvus:\n  port: many\n  tlsMode: 9\n", encoding="utf-8")
    result = run("list")
    assert result.code == 2
    lines = result.err.splitlines()
    assert len(lines) == 2
    assert any("milvus.port" in line for line in lines)
    assert any("milvus.tlsMode" in line for line in lines)


def test_a_hint_of_the_configuration_follows_its_problems(run: Run, session: Session) -> None:
    session.error = ConfigError("f.yaml", [Problem("a", "is wrong"), Problem("b", "too")], hint="look again")
    assert run("list").err == (
        "mbk: error: f.yaml: a: is wrong\nmbk: error: f.yaml: b: too\nmbk: hint: look again\n"
    )


def test_verbose_adds_the_chain_of_causes(run: Run, session: Session) -> None:
    cause = OSError("connection reset")
    cause.__cause__ = ValueError("in the middle")
    session.error = MbkError("broken")
    session.error.__cause__ = cause
    session.error.add_note("the end of the server's log")
    assert run("list").err == "mbk: error: broken\n"
    assert (
        run("-v", "list").err.splitlines()
        == run("list", "-v").err.splitlines()
        == [
            "mbk: error: broken",
            "the end of the server's log",
            "  caused by OSError: connection reset",
            "  caused by ValueError: in the middle",
        ]
    )


def test_a_chain_that_bites_its_tail_ends(run: Run, session: Session) -> None:
    first, second = MbkError("first"), MbkError("second")
    first.__cause__, second.__cause__ = second, first
    session.error = first
    assert run("list", "-v").code == 1


def test_an_unforeseen_exception_is_one_line_and_its_traceback_goes_to_the_log_file(
    run: Run, session: Session
) -> None:
    session.error = ZeroDivisionError("by\nzero")
    result = run("list", "--set", "log.file.filename=mbk.log")
    assert result.code == 1
    assert result.err == (
        "mbk: error: internal error, please report it: ZeroDivisionError: by zero: -v shows more\n"
    )
    assert "Traceback" in Path("mbk.log").read_text(encoding="utf-8")
    assert "Traceback" in run("list", "-v").err


def test_a_broken_pipe_of_a_storage_is_not_taken_for_a_reader_that_left(run: Run, session: Session) -> None:
    session.error = BrokenPipeError(32, "Broken pipe")
    result = run("list")
    assert result.code == 1
    assert "internal error" in result.err


def test_a_partial_failure_prints_its_report_too(run: Run, session: Session) -> None:
    session.error = errors.PartialFailure("1 of 2 collections failed", report=report())
    result = run("create", "-o", "json")
    assert result.code == 3
    assert '"name": "nightly"' in result.out


def child(code: str, *, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=stdout, stderr=subprocess.PIPE, text=True
    )


STOPPABLE = """
    import contextlib, sys, time
    import mbk.session

    class Session:
        def list(self):
            try:
                print("ready", flush=True)
                time.sleep(60)
            except KeyboardInterrupt:
                print("stopping", flush=True)
                time.sleep({cleanup})
                print("clean", flush=True)
                raise

    mbk.session.connect = lambda settings: contextlib.nullcontext(Session())
    from mbk.cli.main import main
    sys.exit(main(["list"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_in_order(number: signal.Signals) -> None:
    with child(STOPPABLE.format(cleanup=0)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "stopping\nclean\n", "mbk: interrupted\n")


def test_a_second_signal_does_not_disturb_the_clean_up_and_a_third_ends_it() -> None:
    with child(STOPPABLE.format(cleanup=60)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert "still stopping" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "mbk: interrupted\n")


def test_a_signal_that_another_thread_gets_stops_a_run_that_waits() -> None:
    """As it may happen: the kernel chooses the thread, and Python's handler runs in the main one, which is not woken by it."""
    code = """
        import signal, threading
        from mbk.cli.stopping import orderly_stop
        lock = threading.Lock()
        lock.acquire()
        def hit():
            waiting.wait()
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        waiting = threading.Event()
        threading.Thread(target=hit, daemon=True).start()
        try:
            with orderly_stop():
                waiting.set()
                lock.acquire()
        except KeyboardInterrupt:
            print("stopped")
    """
    with child(code) as process:
        out, err = process.communicate(timeout=60)
    assert (out, err) == ("stopped\n", "")


def test_a_signal_while_the_command_is_loaded_leaves_one_line() -> None:
    code = """
        import os, signal, sys, threading
        class Loading:
            def find_spec(self, name, path=None, target=None):
                if name == "click":
                    print("ready", flush=True)
                    threading.Event().wait(60)
        sys.meta_path.insert(0, Loading())
        from mbk.__main__ import run
        run()
    """
    with child(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "mbk: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_end_changes_nothing_that_was_told(number: signal.Signals) -> None:
    """As a second one does that comes while the interpreter leaves, which waits for its threads first."""
    code = """
        import sys, threading
        class Stays(threading.Thread):
            def run(self):
                threading.main_thread().join()
                sys.stderr.write("ending\\n")
                sys.stderr.flush()
                threading.Event().wait(60)
        Stays().start()
        sys.argv = ["mbk", "version"]
        from mbk.__main__ import run
        run()
    """
    with child(code) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "ending\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("mbk ")


def test_two_signals_at_once_stop_a_run_that_waits_when_other_threads_get_them() -> None:
    code = """
        import signal, threading
        from mbk.cli.stopping import orderly_stop
        lock = threading.Lock()
        lock.acquire()
        def hit():
            waiting.wait()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.pthread_kill(threading.get_ident(), number)
        waiting = threading.Event()
        threading.Thread(target=hit, daemon=True).start()
        try:
            with orderly_stop():
                waiting.set()
                lock.acquire()
        except KeyboardInterrupt:
            print("stopped")
    """
    with child(code) as process:
        out, err = process.communicate(timeout=60)
    assert out == "stopped\n"
    assert err == "mbk: still stopping cleanly; interrupt once more to exit at once\n"


def test_a_signal_ignored_by_the_caller_stays_ignored() -> None:
    code = """
        import signal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        from mbk.cli.stopping import orderly_stop
        with orderly_stop():
            print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, callable(signal.getsignal(signal.SIGTERM)))
    """
    with child(code) as process:
        out, _ = process.communicate(timeout=30)
    assert out == "True True\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mbk", "config", "show"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 141
    assert "error" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_colours_are_for_terminals_and_can_be_switched_off(no_color: str, colored: bool) -> None:
    ours, theirs = os.openpty()
    subprocess.run(
        [sys.executable, "-m", "mbk", "crate"],
        stderr=theirs,
        env=os.environ | {"NO_COLOR": no_color},
        check=False,
    )
    os.close(theirs)
    seen = os.read(ours, 4096).decode()
    os.close(ours)
    assert "no such command 'crate'" in seen
    assert ("\x1b[" in seen) is colored


def test_the_module_and_the_script_are_the_same_program() -> None:
    run = subprocess.run([sys.executable, "-m", "mbk", "crate"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == "mbk: error: no such command 'crate', did you mean 'create'?: see 'mbk --help'\n"


def test_a_mistyped_root_path_is_told_from_a_storage_without_backups(run: Run, backups: Path) -> None:
    wrong = ("--set", f"minio.backupRootPath={backups.parent}/bakcup")
    backups.with_name("bakcup").mkdir()
    told = run("list", *wrong)
    assert told.code == 0
    assert f"no backups in local://{backups.parent}/bakcup" in told.err
    assert f"below {backups}: check minio.backupRootPath" in told.err
    empty = backups.with_name("alone") / "x"
    empty.mkdir(parents=True)
    assert "below" not in run("list", "--set", f"minio.backupRootPath={empty}").err


@pytest.mark.parametrize("command", ["get odl", "delete odl --yes", "verify odl", "cp odl other"])
def test_a_mistyped_backup_is_answered_with_the_nearest_one(command: str, run: Run, backups: Path) -> None:
    told = run(*command.split())
    assert told.code == 4
    assert "did you mean 'old'?" in told.err


def test_a_login_that_fails_names_the_side_and_the_key_that_was_set(
    run: Run, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object, *, create: bool = False) -> None:
        raise errors.AuthenticationFailed("no", hint="check the secret access key")

    monkeypatch.setattr("mbk_local.storage.LocalStorage.check", refuse)
    for command in ("list", "get old", "verify old", "delete old --yes", "ls", "cp old other"):
        told = run(*command.split(), "--set", "minio.backupSecretAccessKey=x")
        assert told.code == 6
        assert (
            told.err.splitlines()[-1]
            == "mbk: error: backup storage: no: check the secret access key (minio.backupSecretAccessKey)"
        )


def test_a_place_that_is_not_there_is_told_as_it_was_written(run: Run, backups: Path, tmp_path: Path) -> None:
    there = f"{tmp_path}/nowhere"
    for command in (f"ls {there}", f"cp {there}/old new"):
        told = run(*command.split())
        assert told.code == 4
        assert told.err.splitlines()[-1].startswith(f"mbk: error: {there}")
        assert told.err.splitlines()[-1].endswith(f"correct {command.split()[1]}")


def test_an_error_is_one_json_object_where_results_are(run: Run, session: Session) -> None:
    """In the words of the library: class, code, exit code, facts, hint."""
    session.error = BackupNotFound(
        "backup {backup!r} does not exist", code="backup-missing", backup="x", hint="see `mbk list`"
    )
    for options in (("-o", "json"), ("--log-format", "json")):
        result = run("get", "x", *options)
        told = json.loads(result.err)
        assert result.code == told["exit_code"] == 4
        assert (told["schema_version"], told["kind"], told["class"]) == (1, "error", "BackupNotFound")
        assert (told["code"], told["facts"]) == ("backup-missing", {"backup": "x"})
        assert (told["message"], told["hint"]) == ("backup 'x' does not exist", "see `mbk list`")


@pytest.mark.parametrize(
    "args",
    [
        ("list", "--nonsense", "-o", "json"),
        ("-ojson", "lst"),
        ("get", "-o", "json"),
        ("list", "--nonsense", "--log-format=json"),
    ],
)
def test_a_wrong_command_line_is_told_as_json_too(args: tuple[str, ...], run: Run, session: Session) -> None:
    result = run(*args)
    told = json.loads(result.err)
    assert (result.code, told["class"], told["exit_code"]) == (2, "UsageError", 2)


def test_a_wrong_configuration_tells_all_its_problems_as_json(run: Run) -> None:
    Path("bad.yaml").write_text("milvus:\n  port: none\nlog:\n  level: loud\n", encoding="utf-8")
    told = json.loads(run("list", "--config", "bad.yaml", "-o", "json").err)
    assert told["class"] == "ConfigError"
    assert len(told["problems"]) == 2


def test_a_bug_is_told_as_json_without_its_text(run: Run, session: Session) -> None:
    session.error = ValueError("secret")
    result = run("list", "-o", "json")
    told = json.loads(result.err)
    assert (result.code, told["class"]) == (1, "InternalError")
    assert "secret" not in result.err


def test_nothing_follows_an_error_that_is_told_as_json(run: Run, session: Session) -> None:
    """Not that there was no configuration, nor its causes: a program reads the last line."""
    Path("backup.yaml").unlink()
    cause = OSError("connection reset")
    session.error = BackupNotFound("gone", hint="see `mbk list`")
    session.error.__cause__ = cause
    told = json.loads(run("get", "x", "-o", "json").err)
    assert told["hint"].startswith("see `mbk list`; no configuration file found")
    assert "mbk config init" in told["hint"]
    first, last = run("get", "x", "-v", "-o", "json").err.splitlines()
    assert "connection reset" in first
    assert json.loads(last)["class"] == "BackupNotFound"


def test_hints_for_programs_have_the_keys_of_the_file_too(
    run: Run, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise errors.AuthenticationFailed("no", hint="check the secret access key")

    monkeypatch.setattr("mbk_local.storage.LocalStorage.check", refuse)
    told = json.loads(run("list", "-o", "json", "--set", "minio.backupSecretAccessKey=x").err)
    assert told["hint"] == "check the secret access key (minio.backupSecretAccessKey)"
    assert told["facts"] == {"side": "backup_storage"}


def test_of_several_backups_each_error_is_an_object(run: Run, backups: Path) -> None:
    result = run("verify", "old", "none", "nothing", "-o", "json")
    errors_of = [json.loads(line) for line in result.err.splitlines() if line.startswith("{")]
    assert [item["facts"]["backup"] for item in errors_of] == ["none", "nothing"]
    assert {item["exit_code"] for item in errors_of} == {result.code} == {4}
    assert [item["name"] for item in json.loads(result.out)] == ["old"]
    assert run("verify", "old", "none").err.splitlines()[-1] == "mbk: error: 1 of 2 backups failed"
