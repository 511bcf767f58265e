"""``mbk version``."""

from __future__ import annotations

import platform

import click

from mbk.about import __version__
from mbk.cli.app import App
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.render import emit, emit_data


@click.command("version", cls=Command, help=COMMANDS["version"])
@click.pass_obj
def command(app: App) -> None:
    if app.output in (None, "table"):
        emit(f"mbk {__version__}")
        return
    emit_data(
        {"mbk": __version__, "python": platform.python_version(), "platform": platform.platform()}, app.output
    )
