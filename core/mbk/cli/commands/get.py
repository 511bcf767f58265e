"""``mbk get``."""

from __future__ import annotations

import click

from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, help_of, name_parameters
from mbk.cli.options import generated
from mbk.cli.parsing import Command
from mbk.cli.render import counted, emit, emit_data, moment, size, table
from mbk.model.contents import BackupInfo, Protection
from mbk.model.operations import OPERATIONS

GET = OPERATIONS["get"]


@click.command("get", cls=Command, help=help_of(GET), params=[*name_parameters(), *generated(GET.options)])
@click.pass_obj
def command(app: App, name: str | None, argument: str | None, detail: bool | None) -> None:
    backup = chosen_name(name, argument)
    with app.session() as session:
        info = session.get(backup, detail=bool(detail))
    if app.output == "table":
        _print_table(info)
    else:
        emit_data(info.document, app.output)


def _print_table(info: BackupInfo) -> None:
    rows = [
        (
            f"{item.database}.{item.name}",
            size(item.size),
            ", ".join(index.type for index in item.indexes) or "-",
            item.load_state or "-",
            _consistency(item.protection),
        )
        for item in info.collections
    ]
    if rows:
        emit(table(("COLLECTION", "SIZE", "INDEXES", "LOADED", "BOUNDARY"), rows))
    version = info.milvus_version or "unknown"
    if info.verified is not None:
        found = counted(info.verified.findings, "finding") if info.verified.findings else "nothing wrong"
        emit(f"verified {moment(info.verified.at)} ({info.verified.depth}): {found}")
    emit(f"{info.name}: {counted(len(rows), 'collection')}, {size(info.size)}, Milvus {version}")


def _consistency(protection: Protection | None) -> str:
    """How the consistency point was taken (``all``, ``own`` or ``none``), its time, and whether the GC was not paused."""
    if protection is None:
        return "-"
    parts = [protection.boundary, *filter(None, [protection.at])]
    return " ".join(parts if protection.gc_paused else [*parts, "(GC not paused)"])
