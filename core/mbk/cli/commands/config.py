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
@click.option("--force", is_flag=True, help="Overwrite it when it exists.")
@click.option("--strict", is_flag=True, help="Fail when something has no counterpart.")
@click.pass_obj
def migrate(app: App, target: Path | None, force: bool, strict: bool) -> None:
    """Translate a v1 file to v2. What is lost or renamed is told on standard error."""
    from mbk.config.migrate import migrate as translate

    if target and target.exists() and not force:
        raise AlreadyExists(f"{target} exists", hint="give --force to overwrite it")
    result = translate(app.config)
    for text in result.warnings:
        terminal.warning(text)
    for text in result.dropped:
        terminal.line(f"mbk: dropped: {text}")
    for old, new in result.env_renames:
        terminal.line(f"mbk: in the environment: {old} is now {new}")
    if strict and (result.dropped or result.warnings):
        raise UsageError(
            "the file cannot be translated without loss", hint="leave out --strict to have it anyway"
        )
    if target is None:
        emit(result.text.rstrip("\n"))
    else:
        _write(target, result.text)
        terminal.line(f"mbk: written to {target}")


def _write(target: Path, text: str) -> None:
    """Readable by its owner alone: the file may hold secrets."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
        partial.replace(target)
    except OSError as exc:
        partial.unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {exc.strerror}", hint="give another --output") from exc
