"""``mbk list``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.choosing import help_of
from mbk.cli.options import generated
from mbk.cli.parsing import Command
from mbk.cli.render import counted, emit, emit_data, moment, size, table
from mbk.errors import AuthenticationFailed, Interrupted, MbkError, Unreachable
from mbk.model.operations import OPERATIONS
from mbk.model.reports import BackupSummary
from mbk.model.selection import CollectionName
from mbk.model.states import BackupState
from mbk.session import Session

LIST = OPERATIONS["list"]
#: Characters of the reason that fit into a line; ``-o json`` has all of it.
_REASON = 120


@click.command("list", cls=Command, help=help_of(LIST), params=generated(LIST.options))
@click.pass_obj
def command(app: App, collection: str | None) -> None:
    wanted = None if collection is None else CollectionName.parse(collection)
    only_names = app.quiet and app.output not in ("json", "yaml")
    if only_names and wanted is None:
        with app.session() as session:
            for name in session.names():
                emit(name)
        return
    with app.session() as session:
        backups = list(session.list())
        if not backups and app.output not in ("json", "yaml"):
            terminal.line(_none(session))
            return
        if wanted is not None:
            backups = list(_containing(session, backups, wanted))
    if app.output in ("json", "yaml"):
        emit_data(backups, app.output)
    elif only_names:
        for backup in backups:
            emit(backup.name)
    elif backups:
        emit(_table(backups))
    else:
        terminal.line(f"no backup contains {wanted}")


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


def _table(backups: Sequence[BackupSummary]) -> str:
    rows = [
        (
            item.name,
            item.state,
            size(item.size),
            item.milvus_version or "-",
            moment(item.created),
            _verified(item),
            textwrap.shorten(item.reason, _REASON, placeholder=" …") if item.reason else "",
        )
        for item in backups
    ]
    header = ("NAME", "STATE", "SIZE", "MILVUS", "CREATED", "VERIFIED", "REASON")
    # The last two only where there is anything to tell.
    told = [any(item.verified for item in backups), any(item.reason for item in backups)]
    columns = [*range(5), *(place for place, shown in zip((5, 6), told, strict=True) if shown)]
    return table([header[place] for place in columns], [[row[place] for place in columns] for row in rows])


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
) -> Iterable[BackupSummary]:
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
