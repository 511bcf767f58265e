"""The command of an operation on several backups: each is run on its own, and the next one follows whatever it came to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from mbk.cli import plans, terminal
from mbk.cli.app import App
from mbk.cli.choosing import help_of
from mbk.cli.failing import is_for_programs, line, told_as_json
from mbk.cli.findings import show
from mbk.cli.metrics import counting, metrics_options
from mbk.cli.options import Documented, generated, value_of
from mbk.cli.parsing import Command, completer
from mbk.cli.progress import listening
from mbk.engine.runtime.failures import concerns_everything
from mbk.errors import DamageFound, MbkError, UsageError
from mbk.model.declared import Options
from mbk.model.operations import Operation
from mbk.model.plans import Plan
from mbk.model.reports import VerifyReport
from mbk.model.states import BackupState, Depth
from mbk.session import Session


def command_of(operation: Operation) -> click.Command:
    """A command that takes several names, or ``--all``."""

    def call(**given: Any) -> None:
        _call(operation, click.get_current_context().find_object(App) or App(), **given)

    return Command(
        operation.name, params=list(_parameters(operation)), callback=call, help=help_of(operation)
    )


def _parameters(operation: Operation) -> Iterator[click.Parameter]:
    yield Documented(
        ["--name", "-n"],
        metavar="NAME",
        multiple=True,
        help="Name of a backup; repeatable.",
        shell_complete=completer("backups"),
        more="Also as plain arguments.",
    )
    yield click.Argument(["arguments"], metavar="[NAME]...", nargs=-1, shell_complete=completer("backups"))
    yield Documented(
        ["--all"],
        is_flag=True,
        help="All complete backups.",
        more="Goes on after a damaged one; the exit code is that of the worst.",
    )
    yield from generated(operation.options)
    yield Documented(
        ["--embedded"],
        is_flag=True,
        help="Drill in an embedded Milvus (2.3.5) of its own.",
        more="It is started for this run and removed afterwards, as `mbk demo` does; what it does not support is left out.",
    )
    yield Documented(
        ["--dry-run"],
        is_flag=True,
        help="Only show what would be done.",
        more="Refuses what the run would refuse, and changes nothing.",
    )
    yield from metrics_options()


@dataclass(slots=True)
class _Results:
    """What the backups came to, in their order. ``error``: the gravest."""

    reports: list[VerifyReport] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    error: MbkError | None = None
    failed: int = 0

    def add(self, name: str, error: MbkError, app: App, *, alone: bool) -> None:
        self.failed += 1
        report = error.report if isinstance(error, DamageFound) else None
        if isinstance(report, VerifyReport):
            self.reports.append(report)
        if not (alone or told_as_json(error, app, backup=name) or report):
            terminal.error(f"{name}: {line(error)}")
        if self.error is None or error.exit_code > self.error.exit_code:
            self.error = error


def _call(
    operation: Operation,
    app: App,
    *,
    name: Sequence[str],
    arguments: Sequence[str],
    all: bool,
    embedded: bool,
    dry_run: bool = False,
    metrics_file: str | None = None,
    push_gateway: str | None = None,
    **given: Any,
) -> None:
    options = value_of(operation.options, given)
    results = _Results()
    with (
        _session(app, options, embedded=embedded and not dry_run) as session,
        listening(app) as listener,
        ExitStack() as stack,
    ):
        names = _names(session, [*name, *arguments], every=all)
        run = stack.enter_context(counting(operation.job, metrics_file, push_gateway, listener))
        for backup in names:
            try:
                if dry_run:
                    results.plans.append(session.plan(operation.name, backup, options, on_event=run.listen))
                else:
                    report = session.run(operation.name, backup, options, on_event=run.listen)
                    results.reports.append(report)
            except MbkError as error:
                if concerns_everything(error):
                    raise
                results.add(backup, error, app, alone=len(names) == 1)
        run.reports = tuple(results.reports)
    if results.plans:
        for plan in results.plans:
            plans.show(plan, app.output)
    elif results.reports or not results.error:
        show(results.reports, app.output)
    _end(results, len(names), app)


@contextmanager
def _session(app: App, options: Options, *, embedded: bool) -> Iterator[Session]:
    if not embedded:
        with app.session() as session:
            yield session
        return
    if getattr(options, "depth", None) is not Depth.DRILL:
        raise UsageError(
            "only a drill needs a Milvus",
            code="embedded-without-drill",
            hint="use --depth drill, or leave out --embedded",
        )
    from mbk.demo.scratch import embedded as with_embedded
    from mbk.session import connect

    with with_embedded(app.load().settings) as settings, connect(settings) as session:
        yield session


def _names(session: Session, named: list[str], *, every: bool) -> list[str]:
    if every and named:
        raise UsageError(
            "--all and names of backups cannot be combined",
            code="all-and-names",
            hint="use only one of them",
        )
    if every:
        return [item.name for item in session.list() if item.state is not BackupState.INCOMPLETE]
    if not any(named):
        raise UsageError(
            "no backup name given",
            code="backup-names-missing",
            hint="name backups, or use --all; 'mbk list' shows the names",
        )
    return list(dict.fromkeys(filter(None, named)))


def _end(results: _Results, count: int, app: App) -> None:
    if results.error is None:
        return
    if count == 1:
        raise results.error
    if not is_for_programs(app):  # which have read an error of each
        terminal.error(f"{results.failed} of {count} backups failed")
    raise click.exceptions.Exit(results.error.exit_code)
