"""``mbk plugins``."""

from __future__ import annotations

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.render import emit, emit_data, table


@click.command("plugins", cls=Command, help=COMMANDS["plugins"])
@click.pass_obj
def command(app: App) -> None:
    from mbk.registry.registry import Registry

    storages = Registry().describe()
    if app.output in ("json", "yaml"):
        emit_data(storages, app.output)
        return
    rows = [
        (
            item.name,
            ", ".join(item.aliases) or "-",
            f"{item.distribution} {item.version}".strip(),
            "ready" if item.ready else item.install or "broken",
            item.summary,
        )
        for item in storages
    ]
    emit(table(("NAME", "ALSO", "FROM", "STATE", "WHAT"), rows))
    for item in storages:
        if item.problem:
            terminal.line(f"mbk: {item.problem}")
