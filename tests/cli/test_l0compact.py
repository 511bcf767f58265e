"""``mbk l0compact``: names, replacing, and that ``-o`` is the new backup's name here."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from mbk.model.reports import CollectionOutcome, RunReport
from tests.cli.conftest import Run, Session, report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def asked(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool]]:
    """What `Session.l0compact` was asked: source, new name, whether to replace."""
    calls: list[tuple[str, str, bool]] = []

    def l0compact(name: str, output: str, *, force: bool, on_event: Any) -> RunReport:
        calls.append((name, output, force))
        outcome = CollectionOutcome("db.coll", "db.coll", "done", notes=("5 deletes written to 2 segments",))
        return report("l0compact", outcome, name=output)

    monkeypatch.setattr(session, "l0compact", l0compact, raising=False)
    return calls


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("-n", "nightly"), "nightly_l0compacted"),
        (("nightly",), "nightly_l0compacted"),
        (("-n", "nightly", "-o", "flat"), "flat"),
        (("-n=nightly", "--output=flat"), "flat"),
    ],
)
def test_the_new_backup_is_named_after_the_old_one_or_as_wanted(
    words: tuple[str, ...], output: str, run: Run, asked: list[tuple[str, str, bool]]
) -> None:
    result = run("l0compact", *words)
    assert result.code == 0
    assert asked == [("nightly", output, False)]
    assert "5 deletes written to 2 segments" in result.out
    assert f"l0compact {output}" in result.out


def test_the_format_of_the_result_is_given_before_the_command(
    run: Run, asked: list[tuple[str, str, bool]]
) -> None:
    result = run("-o", "json", "l0compact", "-n", "nightly")
    assert json.loads(result.out)["name"] == "nightly_l0compacted"


def test_replacing_needs_yes_where_nobody_can_be_asked(
    run: Run, asked: list[tuple[str, str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    result = run("l0compact", "-n", "nightly", "--force")
    assert result.code == 2
    assert "--yes" in result.err
    assert asked == []
    assert run("l0compact", "-n", "nightly", "--force", "--yes").code == 0
    assert asked == [("nightly", "nightly_l0compacted", True)]


@pytest.mark.parametrize(("reply", "code"), [("y\n", 0), ("n\n", 1)])
def test_replacing_asks_on_a_terminal_and_names_what_would_go(
    reply: str, code: int, run: Run, asked: list[tuple[str, str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(reply))
    result = run("l0compact", "-n", "nightly", "-o", "flat", "--force")
    assert result.code == code
    assert "'flat'" in result.err
    assert len(asked) == (1 if code == 0 else 0)
