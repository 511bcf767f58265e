"""``mbk config init``, ``show`` and ``migrate``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Set
from pathlib import Path
from typing import Literal

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.parsing import COMMANDS, Choice, Group
from mbk.cli.render import emit, emit_data, table
from mbk.errors import AlreadyExists, MbkError, UsageError

#: The name by which a file is found that nobody names.
DEFAULT_NAME = "backup.yaml"
Format = Literal["v1", "v2"]


@click.group("config", cls=Group, help=COMMANDS["config"])
def command() -> None:
    pass


@command.command("init")
@click.argument("target", metavar="[FILE]", type=click.Path(path_type=Path), default=DEFAULT_NAME)
@click.option(
    "--format",
    "dialect",
    type=Choice(("v1", "v2")),
    default="v2",
    show_default=True,
    help="v1: for every release of the Go tool.",
)
@click.option("--full", is_flag=True, help="Every key with its default, for MinIO.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_obj
def init(app: App, target: Path, dialect: Format, full: bool, force: bool) -> None:
    """Write a commented configuration file.

    --storage TYPE chooses the storage that it is for. -: standard output.
    """
    from mbk.config.v1 import DEFAULT_TYPE

    kind = app.storage or DEFAULT_TYPE
    if app.backup_storage and app.backup_storage != kind:
        raise UsageError(
            "a sample is for one storage type",
            code="config-sample-of-two-types",
            hint="name one with --storage, and change the backup's storage type in the file",
        )
    text = _sample(kind, dialect, full=full)
    if str(target) == "-":
        emit(text.rstrip("\n"))
        return
    _refuse_existing(target, force=force)
    _write(target, text, hint="name another FILE")
    terminal.line(f"mbk: written to {target}: fill in what differs on your side, then")
    terminal.line(f"  {_next(target)}")


def _sample(kind: str, dialect: Format, *, full: bool) -> str:
    from mbk.config import samples
    from mbk.registry.registry import Registry

    if full:
        return samples.sample(samples.FULL, dialect)
    backend = Registry().backend(kind, key="--storage")
    if backend.name in samples.types():
        return samples.sample(backend.name, dialect)
    fields = backend.settings().model_fields
    return samples.made(
        backend.name, {name: field.description or "" for name, field in fields.items()}, dialect
    )


def _next(target: Path) -> str:
    """The command that checks the file; it names the file unless it is found by itself."""
    from mbk.config.source import find

    found = find(None, os.environ, Path())
    return (
        "mbk check"
        if found and found.samefile(target)
        else shlex.join(["mbk", "--config", str(target), "check"])
    )


def _refuse_existing(target: Path, *, force: bool) -> None:
    if target.exists() and not force:
        raise AlreadyExists(
            "{path} already exists",
            code="file-exists",
            path=target,
            hint="use --force to overwrite it, or name another file",
        )


@command.command("show")
@click.pass_obj
def show(app: App) -> None:
    """Show every setting with its source.

    Secrets are masked.
    """
    from mbk.config.show import show as rows_of

    loaded = app.load()
    rows = rows_of(loaded)
    if app.output in ("json", "yaml"):
        emit_data({"file": str(loaded.path) if loaded.path else None, "settings": rows}, app.output)
        return
    terminal.line(f"file: {loaded.lacks or loaded.path}")
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
    """Translate a v1 file to v2.

    Whatever is lost or renamed is reported on standard error.
    """
    from mbk.config.migrate import migrate as translate

    if target:
        _refuse_existing(target, force=force)
    result = translate(app.config, ignored=ignored)
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
        _write(target, result.text, hint="choose another --output")
        terminal.line(f"mbk: written to {target}")


def ignored(storage_type: str) -> Set[str]:
    """The settings that a storage type does not use; none where that cannot be known here."""
    from mbk.config.migrate import CREDENTIALS
    from mbk.registry.registry import Registry

    try:
        settings = Registry().backend(storage_type).settings()
    except MbkError:
        return frozenset()
    return settings.ignored | CREDENTIALS - {*settings.model_fields}


def _write(target: Path, text: str, *, hint: str) -> None:
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
            hint=hint,
        ) from exc
