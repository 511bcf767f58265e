"""``mbk list``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.choosing import help_of
from mbk.cli.options import generated, value_of
from mbk.cli.parsing import Command
from mbk.cli.render import Column, count, counted, duration, emit, emit_data, fitted, moment, size
from mbk.errors import AuthenticationFailed, Interrupted, MbkError, Unreachable
from mbk.model.listings import moment_since, sorted_by
from mbk.model.operations import OPERATIONS
from mbk.model.options import ListOptions
from mbk.model.reports import BackupSummary
from mbk.model.selection import CollectionName
from mbk.model.states import BackupState
from mbk.session import Session

LIST = OPERATIONS["list"]
#: Characters of the reason that fit into a line; ``-o json`` has all of it.
_REASON = 120


@click.command("list", cls=Command, help=help_of(LIST), params=generated(LIST.options))
@click.pass_obj
def command(app: App, /, **given: Any) -> None:
    if given["collection"] is not None:
        CollectionName.parse(given["collection"])  # an empty name does not list everything
    options = value_of(ListOptions, given)
    only_names = app.quiet and app.output not in ("json", "yaml")
    now = datetime.now(UTC)
    # An empty age is a variable that was never set, and no wish for all of them.
    begin = None if given["since"] is None else moment_since(given["since"], now)
    with app.session() as session:
        if only_names and options == ListOptions():
            for name in session.names():
                emit(name)
            return
        every = list(session.list())
        if not (every or only_names or app.output in ("json", "yaml")):
            terminal.line(_none(session))
            if app.lacks:
                terminal.line(f"mbk: hint: {app.lacks}")
            return
        backups = _chosen(session, every, options, begin)
        where = str(session.backup_storage.location)
    if app.output in ("json", "yaml"):
        emit_data(backups, app.output)
    elif only_names:
        for backup in backups:
            emit(backup.name)
    else:
        if backups:
            emit(_table(backups, now))
        what = "backup" if options == ListOptions(sort=options.sort) else "matching backup"
        # On standard error: a program that reads the table gets nothing else.
        terminal.line(f"{counted(len(backups), what) if backups else f'no {what}s'} in {where}")


def _none(session: Session) -> str:
    """Where it looked, and what lies beside: a mistyped root path looks like a storage without backups."""
    text = f"no backups in {session.backup_storage.location}"
    try:
        nearby = session.nearby()
    except Interrupted:
        raise
    except MbkError:
        nearby = ()
    if not nearby:
        return text
    choice = session.settings.backup_storage
    key = choice.keys.get("root_path", "root path")
    return f"{text}; but there are some below {', '.join(nearby)}: check {key}"


def _chosen(
    session: Session, found: Iterable[BackupSummary], options: ListOptions, begin: datetime | None
) -> list[BackupSummary]:
    name = CollectionName.parse(options.collection) if options.collection else None
    found = [item for item in found if all(test.of(item.labels) for test in options.labels)]
    if begin is not None:
        found = [item for item in found if item.created is not None and item.created >= begin]
    if options.latest:
        found = sorted_by("created", (item for item in found if item.state == BackupState.COMPLETE))
    if name is not None:
        found = _containing(session, found, name)
    return sorted_by(options.sort, islice(found, options.latest))


def _table(backups: Sequence[BackupSummary], now: datetime) -> str:
    """Where a terminal is too narrow for all columns, those with the highest numbers are left out."""
    columns = [
        Column("NAME", [item.name for item in backups]),
        Column("STATE", [item.state for item in backups]),
        Column("SIZE", [size(item.size) for item in backups]),
        Column("MILVUS", [item.milvus_version or "-" for item in backups], 4),
        Column("CREATED", [moment(item.created) for item in backups], 5),
        Column("AGE", [_age(item, now) for item in backups]),
        Column("TOOK", [_took(item) for item in backups], 3),
        Column("COLLECTIONS", [count(item.collection_count) for item in backups], 2),
        Column("ROWS", [count(item.rows) for item in backups], 1),
    ]
    # The last ones only where there is anything to tell.
    if any(item.added is not None for item in backups):
        columns[3:3] = [
            Column("ADDED", [size(item.added) for item in backups], 7),
            Column("FREES", [size(item.frees) for item in backups], 6),
        ]
    if any(item.labels for item in backups):
        columns.append(Column("LABELS", [_labels(item) for item in backups]))
    if any(item.verified for item in backups):
        columns.append(Column("VERIFIED", [_verified(item) for item in backups]))
    if any(item.pin for item in backups):
        columns.append(Column("PINNED", [_pinned(item, now) for item in backups]))
    if any(item.locked for item in backups):
        columns.append(Column("LOCKED", [_locked(item, now) for item in backups]))
    if any(item.reason for item in backups):
        columns.append(Column("REASON", [_reason(item) for item in backups]))
    return fitted(columns)


def _age(item: BackupSummary, now: datetime) -> str:
    return duration(max(0.0, (now - item.created).total_seconds())) if item.created else "-"


def _took(item: BackupSummary) -> str:
    """The times are recorded to the second: a zero would be a guess."""
    return duration(item.seconds) if item.seconds != 0 else "<1 s"


def _reason(item: BackupSummary) -> str:
    return textwrap.shorten(item.reason, _REASON, placeholder=" …") if item.reason else ""


def _pinned(item: BackupSummary, now: datetime) -> str:
    if item.pin is None or not item.pin.holds(now):
        return "-"
    return moment(item.pin.until) if item.pin.until else "yes"


def _locked(item: BackupSummary, now: datetime) -> str:
    if item.locked is None or not item.locked.holds(now):
        return "-"
    return moment(item.locked.until) if item.locked.until else "yes"


def _labels(item: BackupSummary) -> str:
    return ",".join(f"{key}={value}" for key, value in item.labels.items()) or "-"


def _verified(item: BackupSummary) -> str:
    """``2026-11-30 contents``, with the number of findings, or of percent."""
    last = item.verified
    if last is None:
        return "-"
    part = "" if last.sample == 100 else f" {last.sample}%"
    found = f", {counted(last.findings, 'finding')}" if last.findings else ""
    return f"{last.at:%Y-%m-%d} {last.depth}{part}{found}"


def _containing(
    session: Session, backups: Iterable[BackupSummary], name: CollectionName
) -> Iterator[BackupSummary]:
    for backup in backups:
        if backup.state != BackupState.COMPLETE:
            continue
        try:
            collections = {(item.database, item.name) for item in session.get(backup.name).collections}
        except (Unreachable, AuthenticationFailed, Interrupted):
            raise
        except MbkError as error:
            # What is in it cannot be told: it is shown, since it may be the one that is looked for.
            yield replace(backup, state=BackupState.UNREADABLE, reason=error.message)
            continue
        if (name.database, name.collection) in collections:
            yield backup
