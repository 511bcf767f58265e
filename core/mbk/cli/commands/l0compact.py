"""``mbk l0compact``."""

from __future__ import annotations

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, named
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.progress import listening
from mbk.cli.render import report
from mbk.errors import UsageError
from mbk.model.reports import compacted_name


@click.command("l0compact", cls=Command, help=COMMANDS["l0compact"])
@named
@click.option("--output", "-o", metavar="NAME", help="The new backup.  [default: NAME_l0compacted]")
@click.option("--force", is_flag=True, help="Replace a backup of that name.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before replacing.")
@click.pass_obj
def command(
    app: App, name: str | None, argument: str | None, output: str | None, force: bool, yes: bool
) -> None:
    backup = chosen_name(name, argument)
    if force and not yes and not terminal.can_ask():
        raise UsageError("--force deletes a backup for good", hint="say --yes when nobody can be asked")
    with app.session() as session:
        wanted = output or compacted_name(backup)
        if force and not yes and not terminal.confirm(f"Delete backup {wanted!r} for good, if there is one?"):
            terminal.line("mbk: nothing was changed")
            raise click.exceptions.Exit(1)
        with listening(app) as listener:
            result = session.l0compact(backup, wanted, force=force, on_event=listener)
        report(result, app.output)
