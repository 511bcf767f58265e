"""``mbk create``."""

from __future__ import annotations

from typing import Any

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.choosing import named, old_selection
from mbk.cli.metrics import counting, metrics_options
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.progress import listening
from mbk.cli.render import report
from mbk.errors import PartialFailure, UsageError
from mbk.model.options import CreateOptions, Strategy
from mbk.model.reports import RunReport, check_name
from mbk.model.selection import Selection

STRATEGIES = [str(item) for item in Strategy]


@click.command("create", cls=Command, help=COMMANDS["create"])
@named
@click.option(
    "--filter",
    "wanted",
    metavar="LIST",
    help="Comma list of db.*, db.coll, coll, db., coll/part  [default: all]",
)
@click.option("--exclude", metavar="LIST", help="The same, of what is left out.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    metavar=f"[{'|'.join(STRATEGIES)}]",
    help="How the line is drawn.",
)
@click.option(
    "--format", "kind", type=click.Choice(["auto", "binlog", "snapshot"]), default="auto", help="Data format."
)
@click.option("--rbac", is_flag=True, help="Also users, roles and grants.")
@click.option(
    "--backup-index-extra",
    "index_extra",
    is_flag=True,
    help="Also what only the etcd of Milvus knows of indexes.",
)
@click.option(
    "--pause-gc/--no-pause-gc",
    default=None,
    help="Whether Milvus' garbage collector pauses.  [default: as configured]",
)
@click.option("--resume", is_flag=True, help="Complete an interrupted backup of this name.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first collection that fails.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@metrics_options
@click.option("--colls", "-c", metavar="LIST", hidden=True, help="0.5: use --filter.")
@click.option("--databases", "-d", metavar="LIST", hidden=True, help="0.5: use --filter.")
@click.option("--database-collections", "-a", metavar="JSON", hidden=True, help="0.5: use --filter.")
@click.option("--force", "-f", is_flag=True, hidden=True, help="0.5: use --strategy skip_flush.")
@click.option("--meta-only", is_flag=True, hidden=True, help="0.5: use --strategy meta_only.")
@click.pass_obj
def command(
    app: App,
    /,
    name: str | None,
    argument: str | None,
    dry_run: bool,
    metrics_file: str | None,
    push_gateway: str | None,
    **given: Any,
) -> None:
    if name and argument and name != argument:
        raise UsageError(f"two names are given, {name!r} and {argument!r}", hint="give one")
    chosen = name or argument
    if chosen:
        check_name(chosen)
    options = _options(dry_run=dry_run, **given)
    with app.session() as session:
        try:
            with (
                listening(app) as listener,
                counting("backup", metrics_file, push_gateway, listener) as run,
            ):
                result = run.report = session.create(chosen, options, on_event=run.listen)
        except PartialFailure as exc:
            if isinstance(exc.report, RunReport):
                report(exc.report, app.output)
            raise
        report(result, app.output, dry_run=dry_run)


def _options(
    *,
    wanted: str | None,
    exclude: str | None,
    strategy: str | None,
    kind: str,
    colls: str | None,
    databases: str | None,
    database_collections: str | None,
    force: bool,
    meta_only: bool,
    **same: Any,
) -> CreateOptions:
    old = old_selection(colls, databases, database_collections)
    if old and wanted:
        raise UsageError(
            "--filter and the options of 0.5 (-c, -d, -a) exclude each other", hint="use --filter"
        )
    return CreateOptions(
        selection=(old or Selection.parse(wanted or "")).excluding(Selection.parse(exclude or "")),
        strategy=_strategy(strategy, force=force, meta_only=meta_only),
        format=kind,
        **same,
    )


def _strategy(strategy: str | None, *, force: bool, meta_only: bool) -> Strategy:
    old = {"--force": Strategy.SKIP_FLUSH} if force else {}
    old |= {"--meta_only": Strategy.META_ONLY} if meta_only else {}
    meant = {*old.values(), *([Strategy(strategy)] if strategy else [])}
    if len(meant) > 1:
        given = [*old, *(["--strategy"] if strategy else [])]
        raise UsageError(f"{' and '.join(given)} ask for different strategies", hint="use --strategy alone")
    for option, same in old.items():
        terminal.warning(f"{option} is the spelling of 0.5; --strategy {same} says the same")
    return meant.pop() if meant else Strategy.AUTO
