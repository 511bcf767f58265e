"""What destroys asks first, and does not guess where nobody can be asked."""

from __future__ import annotations

import io

import pytest

from mbk.errors import BackupNotFound
from mbk.model.options import DeleteOptions, PruneOptions, RestoreOptions
from mbk.model.plans import Plan
from mbk.model.reports import CollectionOutcome, Leftover, PrunedBackup
from mbk.model.states import LeftoverKind
from tests.cli.conftest import Run, Session, report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


DESTRUCTIVE = [
    ("delete", "-n", "nightly"),
    ("restore", "-n", "nightly", "--drop_exist_collection"),
    ("import", "-n", "nightly"),
]


@pytest.mark.parametrize("command", DESTRUCTIVE, ids=lambda command: command[0])
def test_where_nobody_can_be_asked_yes_is_needed(
    command: tuple[str, ...], run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    session.result = report("restore", CollectionOutcome("default.a", "default.b", "done"))
    result = run(*command)
    assert result.code == 2
    assert "--yes" in result.err
    assert "MBK_YES=1" in result.err
    assert [call[0] for call in session.calls] == [f"plan {command[0]}"]
    assert run(*command, "--yes").code == 0
    assert run(*command, "-y").code == 0
    assert len(session.calls) == 3


@pytest.mark.parametrize("command", DESTRUCTIVE, ids=lambda command: command[0])
def test_a_variable_confirms_for_scripts_that_cannot_be_changed(
    command: tuple[str, ...], run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.setenv("MBK_YES", "1")
    assert run(*command).code == 0
    assert [call[0] for call in session.calls] == [command[0]]
    monkeypatch.setenv("MBK_YES", "0")
    assert run(*command, "--dry-run").code == 0
    assert run("delete", "nightly").code == 2


@pytest.mark.parametrize("going", [["old"], []], ids=["one", "none"])
def test_a_prune_lets_go_what_was_shown_and_nothing_else(
    going: list[str], run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    told = [PrunedBackup(name, "planned", ("no rule keeps it",), "complete") for name in going]
    session.plan = lambda *_, **__: Plan(command="prune", name="", location="here", backups=(*told,))
    assert run("prune", "--keep-last", "1").code == 0
    ((operation, _, options),) = session.calls
    assert (operation, options) == ("prune", PruneOptions(keep_last=1, only=frozenset(going)))


def gc_plan(*leftovers: Leftover) -> Plan:
    return Plan(command="gc", name="", location="here", leftovers=leftovers)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_a_gc_names_all_that_goes_before_it_asks(
    answer: str, code: int, run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    lease = Leftover(kind=LeftoverKind.LEASE, location="here", name=".mbk/leases/nightly")
    uploads = Leftover(kind=LeftoverKind.UPLOADS, location="here", count=3)
    kept = Leftover(kind=LeftoverKind.RESTORE, location="there", name="restore-temp-a-b-c/", outcome="kept")
    session.plan = lambda *_, **__: gc_plan(lease, uploads, kept)
    result = run("gc")
    assert result.code == code
    assert ".mbk/leases/nightly" in result.err
    assert "3 unfinished uploads" in result.err
    assert "restore-temp" not in result.err, "it stays"
    assert [call[0] for call in session.calls] == (["gc"] if code == 0 else [])


def test_a_gc_that_finds_nothing_asks_nothing(
    run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    session.plan = lambda *_, **__: gc_plan()
    assert run("gc").code == 0


@pytest.mark.parametrize("stdin", [io.StringIO, Terminal])
def test_what_does_not_exist_is_told_before_anything_is_asked(
    stdin: type[io.StringIO], run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", stdin(""))
    session.error = BackupNotFound("backup 'nightly' does not exist")
    result = run("delete", "nightly")
    assert (result.code, result.err) == (4, "mbk: error: backup 'nightly' does not exist\n")


@pytest.mark.parametrize(("reply", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 130)])
def test_delete_asks_on_a_terminal(
    reply: str, code: int, run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(reply))
    result = run("delete", "nightly")
    assert result.code == code
    asked, *done = session.calls
    assert asked == ("plan delete", "nightly", DeleteOptions())
    assert done == ([("delete", "nightly", DeleteOptions())] if code == 0 else [])
    assert "nightly" in result.err
    assert result.out == ("deleted nightly: 7 objects\n" if code == 0 else "")


@pytest.mark.parametrize(("reply", "done"), [("y\n", True), ("n\n", False)])
def test_a_restore_that_drops_names_what_it_would_drop_and_asks(
    reply: str, done: bool, run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(reply))
    session.result = report("restore", CollectionOutcome("default.a", "default.b", "done"))
    result = run("restore", "nightly", "--drop-exist-collection")
    assert result.code == (0 if done else 1)
    assert "default.b" in result.err
    plan, *rest = session.calls
    assert plan == ("plan restore", "nightly", RestoreOptions(drop_existing=True))
    assert rest == ([("restore", "nightly", RestoreOptions(drop_existing=True))] if done else [])


def test_a_restore_that_drops_nothing_does_not_ask(run: Run, session: Session) -> None:
    assert run("restore", "nightly", "-s", "_recover").code == 0
    assert run("restore", "nightly", "--drop_exist_collection", "--dry-run").code == 0
    assert len(session.calls) == 2


def test_a_deletion_can_be_read_by_a_machine(run: Run, session: Session) -> None:
    result = run("delete", "nightly", "--yes", "-o", "yaml")
    assert (
        result.out
        == "schema_version: 1\nname: nightly\ndeleted_objects: 7\ndeleted_versions: 0\nothers: 0\nfreed: 0\n"
        "notices: []\n"
    )
    assert session.calls == [("delete", "nightly", DeleteOptions())]
