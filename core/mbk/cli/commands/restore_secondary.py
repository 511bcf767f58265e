"""``mbk restore secondary``."""

from __future__ import annotations

import click

from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, named
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.progress import listening
from mbk.cli.render import report


@click.command("restore secondary", cls=Command, help=COMMANDS["restore secondary"])
@named
@click.option(
    "--source-cluster-id", "source", metavar="ID", required=True, help="The cluster that was backed up."
)
@click.option("--target-cluster-id", "target", metavar="ID", required=True, help="The standby to write to.")
@click.pass_obj
def command(app: App, name: str | None, argument: str | None, source: str, target: str) -> None:
    backup = chosen_name(name, argument)
    with app.session() as session, listening(app) as listener:
        result = session.restore_secondary(backup, source=source, target=target, on_event=listener)
    report(result, app.output)
