"""``mbk list``: what is known of each backup, which are shown, in what order, and where they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mbk.cli.render import Column, fitted
from mbk.model.reports import BackupSummary
from tests.cli.conftest import Run, Session

NOW = datetime.now(UTC)


def backup(name: str, hours: float, state: str = "complete", **more: int) -> BackupSummary:
    created = NOW - timedelta(hours=hours, minutes=1)
    return BackupSummary(name, state, created=created, finished=created + timedelta(seconds=95), **more)


BACKUPS = [
    backup("a_week", 170, size=3 * 1024**3, collection_count=2, rows=1000),
    backup("half", 1, "incomplete"),
    backup("nightly", 5, size=2048, collection_count=12, rows=7),
    BackupSummary("old", "complete", size=1, milvus_version="2.2.16"),
]


def names(run: Run, *options: str) -> Sequence[str]:
    return run("list", "-q", *options).out.split()


def test_each_backup_is_told_with_age_duration_collections_and_rows(run: Run, session: Session) -> None:
    session.backups = BACKUPS
    header, week, half, _, old = (" ".join(line.split()) for line in run("list").out.splitlines())
    assert header == "NAME STATE SIZE MILVUS CREATED AGE TOOK COLLECTIONS ROWS"
    created = f"{BACKUPS[0].created:%Y-%m-%dT%H:%M:%SZ}"
    assert week == f"a_week complete 3.0 GiB - {created} 7 d 2 h 1 min 35 s 2 1000"
    assert half.startswith("half incomplete - - ")
    assert old == "old complete 1 B 2.2.16 - - - - -"


def test_what_a_shared_backup_added_and_would_free_is_told_where_there_is_one(
    run: Run, session: Session
) -> None:
    session.backups = [
        *BACKUPS,
        backup("tuesday", 2, size=4096, added=1024, frees=0),
        backup("unsure", 1, added=0),
    ]
    header, *rows = (" ".join(line.split()) for line in run("list").out.splitlines())
    assert header.startswith("NAME STATE SIZE ADDED FREES ")
    assert rows[-2].startswith("tuesday complete 4.0 KiB 1.0 KiB 0 B ")
    assert rows[-1].startswith("unsure complete - 0 B - ")
    assert rows[0].startswith("a_week complete 3.0 GiB - - ")
    told = json.loads(run("list", "-o", "json").out)
    assert [(item["added"], item["frees"]) for item in told[-2:]] == [(1024, 0), (0, None)]


def test_a_backup_within_a_second_did_not_take_no_time(run: Run, session: Session) -> None:
    session.backups = [BackupSummary("a", "complete", created=NOW, finished=NOW)]
    assert "  <1 s  " in run("list").out


def test_where_the_backups_are_is_always_told(run: Run, session: Session) -> None:
    """Also where there are none: that may be the reason."""
    where = str(session.backup_storage.location)
    assert run("list").err == f"no backups in {where}\n"
    session.backups = BACKUPS
    assert run("list").err == f"4 backups in {where}\n"
    assert run("list", "--since", "2h").err == f"1 matching backup in {where}\n"
    assert run("list", "--since", "10m").err == f"no matching backups in {where}\n"
    assert run("list", "-q").err == run("list", "-o", "json").err == ""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--sort", "created"), "half nightly a_week old"),
        (("--sort", "size"), "a_week nightly old half"),
        (("--sort", "rows"), "a_week nightly half old"),
        (("--sort", "name"), "a_week half nightly old"),
        (("--since", "6h"), "half nightly"),
        (("--since", f"{NOW - timedelta(hours=3):%Y-%m-%dT%H:%M}"), "half"),
        (("--since", "2w"), "a_week half nightly"),
        (("--latest",), "nightly"),
        (("--latest", "--since", "2h"), ""),
        (("--latest", "2"), "a_week nightly"),
        (("--latest=2", "--sort", "created"), "nightly a_week"),
        (("--latest", "9", "--sort", "size"), "a_week nightly old"),
    ],
)
def test_they_are_chosen_and_sorted(
    options: tuple[str, ...], expected: str, run: Run, session: Session
) -> None:
    session.backups = BACKUPS
    assert names(run, *options) == expected.split()


def test_the_latest_backup_of_a_collection_looks_into_no_more_than_it_must(
    run: Run, session: Session
) -> None:
    session.backups = BACKUPS
    session.info = {"collection_backups": [{"collection_name": "hello"}]}
    assert names(run, "--latest", "-c", "hello") == ["nightly"]
    assert [call for call in session.calls if call[0] == "get"] == [("get", "nightly", False)]


@pytest.mark.parametrize("since", ["yesterday", "7", "7y", "9999999d"])
def test_an_age_that_is_none_is_refused(since: str, run: Run, session: Session) -> None:
    result = run("list", "--since", since)
    assert (result.code, session.calls) == (2, [])
    assert "2026-11-30" in result.err


def test_a_table_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What matters least goes first; what never goes may be too wide."""
    columns = [Column("A", ["x" * 20]), Column("B", ["y" * 20], 2), Column("C", ["z" * 20], 1)]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for width, shown in ((64, "A B C"), (63, "A C"), (41, "A"), (5, "A")):
        monkeypatch.setenv("COLUMNS", str(width))
        assert fitted(columns).splitlines()[0].split() == shown.split()
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert fitted(columns).splitlines()[0].split() == ["A", "B", "C"]


def test_a_backup_of_another_tool_has_the_date_of_its_metadata(run: Run, backups: Path) -> None:
    written = (backups / "old" / "meta" / "full_meta.json").stat().st_mtime
    shown = run("list").out.splitlines()[1]
    assert f"{datetime.fromtimestamp(written, UTC):%Y-%m-%dT%H:%M:%SZ}" in shown
    (listed,), seen = (json.loads(run(*words, "-o", "json").out) for words in (("list",), ("get", "old")))
    assert datetime.fromisoformat(seen["created"]) == datetime.fromisoformat(listed["created"])
    assert "started" not in seen
