"""``mbk l0compact``: names, replacing, and that ``-o`` is the new backup's name here."""

from __future__ import annotations

import io
import json

import pytest

from mbk.model.options import L0CompactOptions
from mbk.model.reports import CollectionOutcome
from tests.cli.conftest import Run, Session, report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def compacted(session: Session) -> None:
    outcome = CollectionOutcome("db.coll", "db.coll", "done", notes=("5 deletes written to 2 segments",))
    session.result = report("l0compact", outcome, name="flat")


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("-n", "nightly"), ""),
        (("nightly",), ""),
        (("-n", "nightly", "-o", "flat"), "flat"),
        (("-n=nightly", "--output=flat"), "flat"),
    ],
)
def test_the_new_backup_is_named_after_the_old_one_or_as_wanted(
    words: tuple[str, ...], output: str, run: Run, session: Session
) -> None:
    result = run("l0compact", *words)
    assert result.code == 0
    assert session.calls == [("l0compact", "nightly", L0CompactOptions(output=output))]
    assert "5 deletes written to 2 segments" in result.out
    assert "l0compact flat" in result.out


def test_the_format_of_the_result_is_given_before_the_command(run: Run, session: Session) -> None:
    result = run("-o", "json", "l0compact", "-n", "nightly")
    assert json.loads(result.out)["name"] == "flat"


def test_replacing_needs_yes_where_nobody_can_be_asked(
    run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    result = run("l0compact", "-n", "nightly", "--force")
    assert result.code == 2
    assert "--yes" in result.err
    assert [call[0] for call in session.calls] == ["plan l0compact"]
    assert run("l0compact", "-n", "nightly", "--force", "--yes").code == 0
    assert session.calls[1:] == [("l0compact", "nightly", L0CompactOptions(force=True))]


@pytest.mark.parametrize(("reply", "code"), [("y\n", 0), ("n\n", 1)])
def test_replacing_asks_on_a_terminal_and_names_what_would_go(
    reply: str, code: int, run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(reply))
    result = run("l0compact", "-n", "nightly", "-o", "flat", "--force")
    assert result.code == code
    assert "'flat'" in result.err
    assert [call[0] for call in session.calls] == ["plan l0compact", "l0compact"][: 2 if code == 0 else 1]
