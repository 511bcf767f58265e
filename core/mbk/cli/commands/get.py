"""``mbk get``."""

from __future__ import annotations

from typing import Any

import click

from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, help_of, name_parameters
from mbk.cli.options import generated
from mbk.cli.parsing import Command
from mbk.cli.render import counted, emit, emit_data, size, table
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
        emit_data(info, app.output)


def _print_table(info: dict[str, Any]) -> None:
    held = info.get("collection_backups") or ()
    rows = [
        (
            f"{item.get('db_name') or 'default'}.{item.get('collection_name', '')}",
            size(item.get("size", 0)),
            ", ".join(index.get("index_type", "") for index in item.get("index_infos") or ()) or "-",
            item.get("load_state") or "-",
            _boundary(item.get("protection") or {}),
        )
        for item in held
    ]
    if rows:
        emit(table(("COLLECTION", "SIZE", "INDEXES", "LOADED", "BOUNDARY"), rows))
    version = info.get("milvus_version") or "unknown"
    emit(
        f"{info.get('name', '')}: {counted(len(rows), 'collection')}, {size(info.get('size', 0))}, Milvus {version}"
    )


def _boundary(protection: dict[str, Any]) -> str:
    """The line in words: one over ``all`` collections, the collection's ``own`` or none; its time; what the pause was."""
    if not protection:
        return "-"
    parts = [protection["boundary"], *filter(None, [protection["at"]])]
    return " ".join(parts if protection["gc_paused"] else [*parts, "(GC not paused)"])
