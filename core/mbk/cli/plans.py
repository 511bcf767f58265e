"""``--dry-run``: what an operation would do, found out without changing anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mbk.cli.render import report
from mbk.model.declared import Options
from mbk.model.operations import Operation
from mbk.model.options import CreateOptions, RestoreOptions
from mbk.model.reports import RunReport

if TYPE_CHECKING:
    from mbk.session import Session

MORE = ""


def are_made_of(operation: Operation) -> bool:
    return issubclass(operation.options, CreateOptions | RestoreOptions)


def show(
    session: Session, operation: Operation, backup: str | None, options: Options, output: str | None
) -> None:
    report(_plan(session, operation, backup, options), output, dry_run=True)


def targets(session: Session, operation: Operation, backup: str | None, options: Options) -> list[str]:
    """The collections that the operation writes to."""
    return [item.target for item in _plan(session, operation, backup, options).collections]


def _plan(session: Session, operation: Operation, backup: str | None, options: Options) -> RunReport:
    dry: Any = options
    plan: RunReport = session.run(operation.name, backup, replace(dry, dry_run=True))
    return plan
