"""The command of an operation, made from its declaration: options, a question, a plan or a run, and its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from mbk.cli import plans, terminal
from mbk.cli.app import App
from mbk.cli.choosing import chosen_backup, help_of, name_parameters
from mbk.cli.metrics import counting, metrics_options
from mbk.cli.options import Documented, generated, value_of
from mbk.cli.parsing import Command
from mbk.cli.progress import listening
from mbk.cli.render import report, result
from mbk.errors import PartialFailure, RowsWrong, UsageError
from mbk.model.declared import Options
from mbk.model.operations import Operation, Question
from mbk.model.reports import RunReport
from mbk.session import Session

_NAMED_AT_MOST = 10
#: The variable that stands for ``--yes``, so that scripts for the Go tool, which never asks, need no change.
YES = "MBK_YES"


def command_of(operation: Operation) -> click.Command:
    """A command that plans or runs the operation and prints its result."""

    def call(**given: Any) -> None:
        _call(operation, click.get_current_context().find_object(App) or App(), **given)

    return Command(
        operation.command, params=list(_parameters(operation)), callback=call, help=help_of(operation)
    )


def _parameters(operation: Operation) -> Iterator[click.Parameter]:
    if operation.name_of_backup != "none":
        yield from name_parameters(operation.backup)
    yield from generated(operation.options)
    yield Documented(
        ["--dry-run"],
        is_flag=True,
        help="Only show what would be done.",
        more="Refuses what the run would refuse, and changes nothing.",
    )
    if operation.measured:
        yield from metrics_options()
    if operation.asks:
        yield Documented(
            ["--yes", "-y"],
            is_flag=True,
            envvar=YES,
            help=f"Do not ask before anything is deleted.  [env: {YES}=1]",
        )


def _call(
    operation: Operation,
    app: App,
    *,
    name: str | None = None,
    argument: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    metrics_file: str | None = None,
    push_gateway: str | None = None,
    **given: Any,
) -> None:
    options = value_of(operation.options, given)
    backup = chosen_backup(operation, name, argument, options)
    if dry_run:
        with app.session() as session, listening(app) as listener:
            plan = session.plan(operation.name, backup, options, on_event=listener)
        plans.show(plan, app.output)
        return
    question = operation.asks(backup or "", options) if operation.asks and not yes else None
    with app.session() as session:
        if question:
            agreed = _agreed(question, session, operation, backup, options, app)
            if agreed is None:
                terminal.line("mbk: nothing was changed")
                raise click.exceptions.Exit(1)
            options = agreed
        with _reporting(app), listening(app) as listener, ExitStack() as stack:
            run = stack.enter_context(counting(operation.job, metrics_file, push_gateway, listener))
            outcome = session.run(operation.name, backup, options, on_event=run.listen)
            run.report = outcome if isinstance(outcome, RunReport) else None
    result(outcome, app.output)


def _agreed(
    question: Question, session: Session, operation: Operation, backup: str | None, options: Options, app: App
) -> Options | None:
    """The options of the run, None if it is not to be. The plan comes first: what would be refused, such as a backup that does not
    exist, is told without a question, and nothing goes that was not shown."""
    with listening(app, warns=False) as listener:  # the run itself warns
        plan = session.plan(operation.name, backup, options, on_event=listener)
    going = [item.name for item in plan.backups if item.outcome == "planned"]
    options = options.confirmed(going)
    leftovers = [item.text for item in plan.leftovers if item.outcome == "planned"]
    targets = [item.target for item in plan.collections] or going or leftovers
    if "{targets}" in question.text and not targets:
        return options
    if not terminal.can_ask():
        raise UsageError(
            "{reason}",
            code="confirmation-missing",
            reason=question.reason,
            variable=YES,
            hint="confirm with --yes if there is no terminal, or with {variable}=1 in the environment",
        )
    more = f" and {len(targets) - _NAMED_AT_MOST} more" if len(targets) > _NAMED_AT_MOST else ""
    shown = ", ".join(targets[:_NAMED_AT_MOST]) + more
    return options if terminal.confirm(question.text.replace("{targets}", shown)) else None


@contextmanager
def _reporting(app: App) -> Iterator[None]:
    """Also prints the report of a run in which something failed."""
    try:
        yield
    except (PartialFailure, RowsWrong) as exc:
        if isinstance(exc.report, RunReport):
            report(exc.report, app.output)
        elif exc.report is not None:
            result(exc.report, app.output)
        raise
