"""``mbk list``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.choosing import help_of
from mbk.cli.options import generated
from mbk.cli.parsing import Command
from mbk.cli.render import emit, emit_data, moment, size, table
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
    with app.session() as session:
        backups = list(session.list())
        if collection:
            backups = list(_containing(session, backups, CollectionName.parse(collection)))
    if app.output in ("json", "yaml"):
        emit_data(backups, app.output)
    elif app.quiet:
        for backup in backups:
            emit(backup.name)
    elif backups:
        emit(_table(backups))
    else:
        terminal.line("no backups")


def _table(backups: Iterable[BackupSummary]) -> str:
    rows = [
        (
            item.name,
            item.state,
            size(item.size),
            item.milvus_version or "-",
            moment(item.created),
            textwrap.shorten(item.reason, _REASON, placeholder=" …"),
        )
        for item in backups
    ]
    header = ("NAME", "STATE", "SIZE", "MILVUS", "CREATED", "REASON")
    explained = any(row[-1] for row in rows)
    return table(header, rows) if explained else table(header[:-1], [row[:-1] for row in rows])


def _containing(
    session: Session, backups: Iterable[BackupSummary], name: CollectionName
) -> Iterable[BackupSummary]:
    for backup in backups:
        if backup.state != BackupState.COMPLETE:
            continue
        collections = {(item.database, item.name) for item in session.get(backup.name).collections}
        if (name.database, name.collection) in collections:
            yield backup
