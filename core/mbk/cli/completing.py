"""What a shell offers after ``mbk completion SHELL``: storage types, backups, collections; click itself offers the rest.

Called for a key press: whatever goes wrong or takes too long, nothing is offered, and nothing is printed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import click

from mbk.cli.app import App
from mbk.errors import MbkError
from mbk.session import Session

#: Longer than that nobody waits for a completion: an unreachable server would otherwise block the line for minutes.
PATIENCE = 3.0

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def storage_types(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - as click calls it
    from mbk.registry.registry import Registry

    return [name for name in Registry().names() if name.startswith(incomplete)]


def backups(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    return [name for name in _asked(context, Session.names) if name.startswith(incomplete)]


def collections(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """For the last item of a comma list: those of the backup that the line names, or else of Milvus."""
    # An option that still lacks its value ends the parsing before the plain arguments are.
    name = context.params.get("name") or next(iter(context.args), context.params.get("argument"))

    def known(session: Session) -> Iterable[str]:
        if isinstance(name, str) and name and context.info_name != "create":
            return [f"{item.database}.{item.name}" for item in session.get(name).collections]
        inventory = session.milvus.inventory
        databases = [item.db_name for item in inventory.databases()]
        return [f"{database}.{item}" for database in databases for item in inventory.collections(database)]

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{item}" for item in _asked(context, known) if item.startswith(last)]


def _asked(context: click.Context, question: Callable[[Session], Iterable[str]]) -> list[str]:
    app = replace(context.find_object(App) or App(), quiet=True)
    found: list[str] = []

    def ask() -> None:
        try:
            with app.session() as session:
                found.extend(question(session))
        except (MbkError, OSError):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return sorted(found)
