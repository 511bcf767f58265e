"""``mbk check``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from mbk.cli import terminal
from mbk.cli.app import TO_CONFIGURE, App
from mbk.cli.choosing import help_of
from mbk.cli.commands.config import show
from mbk.cli.options import generated, value_of
from mbk.cli.parsing import Choice, Command
from mbk.cli.render import emit, emit_data
from mbk.engine.runtime.retried import SIDES
from mbk.model.operations import OPERATIONS
from mbk.model.options import CheckOptions
from mbk.model.reports import CheckResult


@click.command("check", cls=Command, help=help_of(OPERATIONS["check"]), params=generated(CheckOptions))
@click.argument("what", type=Choice(["config"]), required=False)
@click.pass_context
def command(context: click.Context, /, what: str | None, **given: Any) -> int | None:
    """``check config`` is the old name of ``config show``."""
    if what:
        terminal.warning("'check config' is the old name of 'config show'")
        context.invoke(show)
        return None
    app = context.ensure_object(App)
    options = value_of(CheckOptions, given)
    results = []
    with app.session() as session:
        for result in chain(_configuration(app), session.check(options.command)):
            results.append(result)
            if app.output not in ("json", "yaml"):
                _print(app, result)
    if app.output in ("json", "yaml"):
        emit_data(results, app.output)
    return next((result.exit_code for result in results if not result.ok), 0)


def _configuration(app: App) -> Iterator[CheckResult]:
    """Which file was read, or that there is none and where it was looked for."""
    if app.loaded is None:
        return
    lacks = app.loaded.lacks
    yield CheckResult(
        "configuration",
        ok=True,
        detail=lacks or f"{app.loaded.path} ({app.loaded.dialect})",
        hint=TO_CONFIGURE if lacks else None,
        warning=bool(lacks),
    )


def _print(app: App, result: CheckResult) -> None:
    mark, color = ("ok", "green") if result.ok else ("failed", "red")
    if result.ok and result.warning:
        mark, color = "warning", "yellow"
    detail = f": {result.detail}" if result.detail else ""
    emit(f"{terminal.paint(f'{mark:<7}', color, sys.stdout)}  {result.what}{detail}")
    if result.hint and mark != "ok":
        side = next((side for side, words in SIDES.items() if result.what.startswith(words)), None)
        emit(f"         {app.own(result.hint, side)}")
