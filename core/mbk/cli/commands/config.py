"""``mbk config show`` and ``mbk config migrate``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.parsing import COMMANDS, Group
from mbk.cli.render import emit, emit_data, table
from mbk.errors import AlreadyExists, UsageError


@click.group("config", cls=Group, help=COMMANDS["config"])
def command() -> None:
    pass


@command.command("show")
@click.pass_obj
def show(app: App) -> None:
    """Every setting with its value and where it comes from; secrets are masked."""
    from mbk.config.show import show as rows_of

    loaded = app.load()
    rows = rows_of(loaded)
    if app.output in ("json", "yaml"):
        emit_data({"file": str(loaded.path) if loaded.path else None, "settings": rows}, app.output)
        return
    terminal.line(f"file: {loaded.path or 'none found, defaults only'}")
    cells = [(row.parameter, row.value or "-", row.source, row.source_key or "-") for row in rows]
    emit(table(("PARAMETER", "VALUE", "SOURCE", "SOURCE_KEY"), cells))


@command.command("migrate")
@click.option(
    "--output", "-o", "target", metavar="FILE", type=click.Path(path_type=Path), help="Write to this file."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--strict", is_flag=True, help="Fail if something has no counterpart in v2.")
@click.pass_obj
def migrate(app: App, target: Path | None, force: bool, strict: bool) -> None:
    """Translate a v1 file to v2. Whatever is lost or renamed is reported on standard error."""
    from mbk.config.migrate import migrate as translate

    if target and target.exists() and not force:
        raise AlreadyExists(
            "{path} already exists", code="file-exists", path=target, hint="use --force to overwrite it"
        )
    result = translate(app.config)
    for text in result.warnings:
        terminal.warning(text)
    for text in result.dropped:
        terminal.line(f"mbk: dropped: {text}")
    for old, new in result.env_renames:
        terminal.line(f"mbk: environment variable {old} is now {new}")
    if strict and (result.dropped or result.warnings):
        raise UsageError(
            "the file cannot be migrated to v2 without loss",
            code="config-migration-lossy",
            hint="omit --strict to migrate it anyway",
        )
    if target is None:
        emit(result.text.rstrip("\n"))
    else:
        _write(target, result.text)
        terminal.line(f"mbk: written to {target}")


def _write(target: Path, text: str) -> None:
    """Only its owner can read it: the file may contain secrets."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
        partial.replace(target)
    except OSError as exc:
        partial.unlink(missing_ok=True)
        raise UsageError(
            "cannot write {path}: {reason}",
            code="file-unwritable",
            path=target,
            reason=exc.strerror,
            hint="choose another --output",
        ) from exc
