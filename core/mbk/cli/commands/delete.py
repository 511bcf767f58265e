"""``mbk delete``."""

from __future__ import annotations

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, named
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.progress import listening
from mbk.cli.render import counted, emit, emit_data
from mbk.errors import UsageError


@click.command("delete", cls=Command, help=COMMANDS["delete"])
@named
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(app: App, name: str | None, argument: str | None, yes: bool) -> None:
    backup = chosen_name(name, argument)
    if not yes and not terminal.can_ask():
        raise UsageError("delete removes the backup for good", hint="say --yes when nobody can be asked")
    with app.session() as session:
        if not yes and not terminal.confirm(f"Delete backup {backup!r} for good?"):
            terminal.line("mbk: nothing was changed")
            raise click.exceptions.Exit(1)
        with listening(app) as listener:
            objects = session.delete(backup, on_event=listener)
    if app.output in ("json", "yaml"):
        emit_data({"name": backup, "deleted_objects": objects}, app.output)
    else:
        emit(f"deleted {backup}: {counted(objects, 'object')}")
