"""``mbk migrate``."""

from __future__ import annotations

import click

from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, named
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.progress import listening
from mbk.cli.render import counted, emit, emit_data, size


@click.command("migrate", cls=Command, help=COMMANDS["migrate"])
@named
@click.option(
    "--cluster-id", "-c", "cluster", metavar="ID", required=True, help="The cluster to bring it into."
)
@click.pass_obj
def command(app: App, name: str | None, argument: str | None, cluster: str) -> None:
    backup = chosen_name(name, argument)
    with app.session() as session, listening(app) as listener:
        report = session.migrate(backup, cluster, on_event=listener)
    if app.output in ("json", "yaml"):
        emit_data(report, app.output)
    else:
        emit(
            f"migrate {backup}: {counted(report.objects, 'object')} ({size(report.size)}) uploaded to volume "
            f"{report.volume} in {report.seconds:.1f} s; migration job {report.job} is under way in {cluster}"
        )
