"""``mbk plugin new``, ``check`` and ``list``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.commands.plugins import command as listing
from mbk.cli.parsing import COMMANDS, Group
from mbk.cli.render import emit, emit_data
from mbk.errors import MissingDependency, UsageError
from mbk.model.reports import CheckResult
from mbk.ports.storage import Storage


@click.group("plugin", cls=Group, help=COMMANDS["plugin"])
def command() -> None:
    pass


command.add_command(listing, "list")


@command.command("new")
@click.argument("name", metavar="NAME")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="New or empty; mbk-NAME here by default.",
)
def new(name: str, folder: Path | None) -> None:
    """Write the package of a new storage plugin.

    It passes the conformance kit as it is, and says what to replace by requests of the service.
    """
    from mbk.testing import scaffold

    files = scaffold.write(name, folder)
    top = folder or Path(f"mbk-{scaffold.short_name(name)}")
    for file in files:
        terminal.line(f"  {file}")
    terminal.line("mbk: written; check it, also after each change, with")
    terminal.line(f"  {shlex.join(['mbk', 'plugin', 'check', str(top)])}")


@command.command("check")
@click.argument("package", metavar="PACKAGE")
@click.pass_obj
def check(app: App, package: str) -> int:
    """Run the conformance kit on a storage plugin.

    PACKAGE: the plugin's folder, whose tests are run; or an installed storage type, which is opened as the configuration
    says of the backup storage. The kit writes below a prefix of its own there, and empties it.
    """
    _require_pytest()
    from mbk.testing import checking

    folder = Path(package)
    by_folder = folder.is_dir() and (folder / "pyproject.toml").is_file()
    terminal.line(
        f"mbk: running the conformance kit on {package}, which takes seconds in memory and minutes over a network"
    )
    results = (
        checking.check_folder(folder.resolve())
        if by_folder
        else checking.check_storage(_opening(app, package))
    )
    if app.output in ("json", "yaml"):
        emit_data([*results], app.output)
    else:
        for result in results:
            _print(result)
        emit(checking.summary(results))
    return 0 if all(result.ok for result in results) else 1


def _print(result: CheckResult) -> None:
    if not result.ok:
        emit(f"broken     {result.what:4} {result.detail}")
        emit(f"                {result.hint}")
    elif result.warning:
        emit(f"           {result.what:4} {result.detail}")


def _opening(app: App, name: str) -> Callable[[], Storage]:
    """What opens the storage that the configuration names, if it is the one that is meant."""
    from mbk.registry.registry import Registry

    registry = Registry()
    distributions = {info.distribution: info.name for info in registry.describe() if info.kind == "storage"}
    backend = registry.backend(distributions.get(name, name), key="PACKAGE")
    choice = app.load().settings.backup_storage
    if registry.backend(choice.type, key=choice.type_key).name != backend.name:
        raise UsageError(
            "the backups of this configuration are on storage type {type!r}, not {name!r}",
            code="plugin-check-of-another-storage",
            type=choice.type,
            name=backend.name,
            hint="add --backup-storage {name}, and its settings with --set or --config",
        )

    def opening() -> Storage:
        return registry.open(choice)

    return opening


def _require_pytest() -> None:
    if find_spec("pytest") is None:
        from mbk.extras import to_install

        raise MissingDependency(
            "the conformance kit needs pytest",
            code="kit-package-missing",
            requirement=to_install("kit"),
            hint="pip install {requirement}",
        )
