"""``mbk restore``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, json_of, named, old_selection
from mbk.cli.parsing import COMMANDS, Command
from mbk.cli.progress import listening
from mbk.cli.render import report
from mbk.errors import PartialFailure, UsageError
from mbk.model.options import RestoreOptions, parse_skip_params
from mbk.model.reports import RunReport
from mbk.model.selection import Renaming, Selection
from mbk.session import Session

_NAMED_AT_MOST = 10


@click.command("restore", cls=Command, help=COMMANDS["restore"])
@named
@click.option(
    "--filter",
    "wanted",
    metavar="LIST",
    help="Comma list of db.*, db.coll, coll, db., coll/part after renaming.",
)
@click.option("--exclude", metavar="LIST", help="The same, of what is left out.")
@click.option("--source-filter", metavar="LIST", help="As --filter, matched against the names in the backup.")
@click.option(
    "--source-exclude", metavar="LIST", help="As --exclude, matched against the names in the backup."
)
@click.option("--suffix", "-s", metavar="TEXT", default="", help="Appended to every collection's name.")
@click.option("--rename", "-r", metavar="LIST", help="Comma list of coll:new, db1.coll:db2.new, db1.*:db2.*")
@click.option("--drop-exist-collection", "drop_existing", is_flag=True, help="Drop the target first.")
@click.option("--skip-create-collection", "skip_create", is_flag=True, help="Import into an existing target.")
@click.option("--meta-only", is_flag=True, help="Only create databases and collections.")
@click.option("--rebuild-index", is_flag=True, help="Build the indexes of the backup.")
@click.option("--use-auto-index", "auto_index", is_flag=True, help="Vector indexes become AUTOINDEX.")
@click.option("--drop-exist-index", "drop_index", is_flag=True, help="Drop the indexes of the target first.")
@click.option(
    "--no-wait-index",
    "wait_index",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Do not wait until the indexes are built.",
)
@click.option("--aliases", is_flag=True, help="Also the aliases.")
@click.option("--load", is_flag=True, help="Load what was loaded when it was backed up.")
@click.option("--rbac", is_flag=True, help="Also users, roles and grants.")
@click.option(
    "--use-v2-restore/--no-v2-restore",
    "rest_import",
    default=None,
    help="Import many segments a job over REST.  [default: where it is better]",
)
@click.option(
    "--at-backup-time", "truncate", is_flag=True, help="Leave out rows and deletes after the backup's line."
)
@click.option(
    "--truncate-binlog-by-ts", "truncate_old", is_flag=True, hidden=True, help="Same as --at-backup-time."
)
@click.option(
    "--max-shard-num",
    "max_shards",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="At most so many shards.",
)
@click.option("--skip-params", metavar="JSON", help="Properties and parameters to leave out, by kind.")
@click.option(
    "--ezk-mapping",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="JSON file: the encryption key of the backup to that of the target.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first collection that fails.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before dropping.")
@click.option("--collections", "-c", metavar="LIST", hidden=True, help="0.5: use --source-filter.")
@click.option("--databases", "-d", metavar="LIST", hidden=True, help="0.5: use --source-filter.")
@click.option("--database-collections", "-a", metavar="JSON", hidden=True, help="0.5: use --source-filter.")
@click.option("--restore-index", is_flag=True, hidden=True, help="0.5: use --rebuild-index.")
@click.pass_obj
def command(app: App, /, name: str | None, argument: str | None, yes: bool, **given: Any) -> None:
    backup = chosen_name(name, argument)
    options = _options(**given)
    must_ask = options.drop_existing and not options.dry_run and not yes
    if must_ask and not terminal.can_ask():
        raise UsageError(
            "--drop_exist_collection drops collections", hint="say --yes when nobody can be asked"
        )
    with app.session() as session:
        if must_ask and not _agreed(session, backup, options):
            terminal.line("mbk: nothing was changed")
            raise click.exceptions.Exit(1)
        try:
            with listening(app) as listener:
                result = session.restore(backup, options, on_event=listener)
        except PartialFailure as exc:
            if isinstance(exc.report, RunReport):
                report(exc.report, app.output)
            raise
        report(result, app.output, dry_run=options.dry_run)


def _agreed(session: Session, backup: str, options: RestoreOptions) -> bool:
    plan = session.restore(backup, replace(options, dry_run=True))
    targets = [item.target for item in plan.collections]
    named_ones = ", ".join(targets[:_NAMED_AT_MOST])
    more = f" and {len(targets) - _NAMED_AT_MOST} more" if len(targets) > _NAMED_AT_MOST else ""
    return not targets or terminal.confirm(f"Drop what exists of {named_ones}{more}, and restore?")


def _options(
    *,
    wanted: str | None,
    exclude: str | None,
    source_filter: str | None,
    source_exclude: str | None,
    suffix: str,
    rename: str | None,
    collections: str | None,
    databases: str | None,
    database_collections: str | None,
    rebuild_index: bool,
    restore_index: bool,
    truncate: bool,
    truncate_old: bool,
    skip_params: str | None,
    ezk_mapping: str | None,
    **same: Any,
) -> RestoreOptions:
    old = old_selection(collections, databases, database_collections)
    if old and (wanted or source_filter):
        raise UsageError(
            "--filter and the options of 0.5 (-c, -d, -a) exclude each other",
            hint="use --source-filter for these",
        )
    return RestoreOptions(
        renaming=Renaming.parse(rename or "", suffix=suffix),
        selection=Selection.parse(wanted or "", exclude=exclude or ""),
        source_selection=(old or Selection.parse(source_filter or "")).excluding(
            Selection.parse(source_exclude or "")
        ),
        rebuild_index=rebuild_index or restore_index,
        truncate=truncate or truncate_old,
        skip_params=parse_skip_params(json_of(skip_params, "--skip-params")) if skip_params else {},
        ezk_mapping=_key_mapping(ezk_mapping) if ezk_mapping else {},
        **same,
    )


def _key_mapping(path: str) -> Mapping[str, str]:
    """Keys are secrets: they stand in a file, and no message repeats them."""
    try:
        value = json_of(Path(path).read_text(encoding="utf-8"), path, quote=False)
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} cannot be read: {type(exc).__name__}") from exc
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value.values()):
        raise UsageError(
            f"{path} is no JSON object of texts", hint='write {"key of the backup": "key of the target"}'
        )
    return value
