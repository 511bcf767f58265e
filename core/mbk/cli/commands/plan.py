"""``mbk plan``: what an operation would take, before it is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from mbk.cli import plans
from mbk.cli.app import App
from mbk.cli.choosing import chosen_backup, name_parameters
from mbk.cli.options import Documented, generated, value_of
from mbk.cli.parsing import COMMANDS, Command, Group
from mbk.cli.progress import listening
from mbk.cli.render import emit, emit_data, plain, size
from mbk.model.forecast import Cost, Forecast, Speed
from mbk.model.operations import OPERATIONS, Operation

#: Those whose work is moving objects.
PLANNED = ("create", "restore", "copy", "verify")
_SECONDS_OF_MINUTES, _MINUTES_OF_HOURS = 120, 120


@click.group("plan", cls=Group, help=COMMANDS["plan"])
def command() -> None:
    """Takes the options of the command that is planned."""


def _planned(operation: Operation) -> click.Command:
    def call(**given: Any) -> None:
        _call(operation, click.get_current_context().find_object(App) or App(), **given)

    return Command(
        operation.command,
        params=list(_parameters(operation)),
        callback=call,
        help=f"What `mbk {operation.command}` with the same options would take.",
    )


def _parameters(operation: Operation) -> Iterator[click.Parameter]:
    yield from name_parameters(operation.backup)
    yield from generated(operation.options)
    yield Documented(
        ["--probe/--no-probe"],
        default=True,
        help="Measure the speed with some of the objects.  [default: --probe]",
        more="Takes a few seconds. Copies go below a prefix `mbk_check_…` beside the backups, and are removed again.",
    )
    yield Documented(
        ["--prices"],
        metavar="FILE",
        help="A YAML file with your own prices.",
        more="They come before the list prices that mbk knows; see [prices](prices.md).",
    )


for _name in PLANNED:
    command.add_command(_planned(OPERATIONS[_name]))


def _call(
    operation: Operation,
    app: App,
    *,
    name: str | None,
    argument: str | None,
    probe: bool,
    prices: str | None,
    **given: Any,
) -> None:
    options = value_of(operation.options, given)
    backup = chosen_backup(operation, name, argument, options)
    with app.session() as session, listening(app) as listener:
        told = session.forecast(
            operation.name, backup, options, probe=probe, prices=prices, on_event=listener
        )
    if app.output in ("json", "yaml"):
        emit_data({**plain(told), "dry_run": True}, app.output)
        return
    plans.show(told.plan, app.output)
    for line in _lines(told):
        emit(line)


# -- words -------------------------------------------------------------------------------------------------------------


def _lines(told: Forecast) -> Iterator[str]:
    for speed in told.speeds:
        yield f"measured: {_measured(speed)}"
    if told.seconds is not None:
        yield f"time: about {_lasting(told.seconds)}{_without(told.plan.command)}"
    elif told.plan.command == "restore" and not told.plan.flows:
        yield f"time: Milvus reads the backup where it is, so only{_without('restore').removeprefix(', and')}"
    for note in told.notes:
        yield f"note: {note}"
    for cost in told.costs:
        if cost.run or cost.month or cost.outside:
            yield from _charged(cost)


_WAYS = {"server": "copied by the storage", "stream": "copied through this machine", "read": "read"}


def _measured(speed: Speed) -> str:
    each = speed.objects / speed.seconds if speed.seconds else 0.0
    rate = size(int(speed.size / speed.seconds)) if speed.seconds else "-"
    return f"{each:.0f} objects/s, {rate}/s, {_WAYS[speed.way]} ({speed.objects} objects)"


def _without(command: str) -> str:
    """What Milvus takes depends on its load, its indexes and its machines."""
    left = {"create": "flushing", "restore": "importing, indexing and loading"}.get(command)
    return f", and what Milvus takes for {left}" if left else ""


def _lasting(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < _SECONDS_OF_MINUTES:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < _MINUTES_OF_HOURS else f"{minutes / 60:.1f} h"


def _charged(cost: Cost) -> Iterator[str]:
    of = f"({cost.prices}, list prices of {cost.as_of})"
    parts = [f"{cost.run:.4f} {cost.currency} for requests"]
    if cost.month:
        parts.append(f"{cost.month:.4f} {cost.currency} a month for keeping it")
    yield f"cost of {plans.SIDES[cost.side]}: {', '.join(parts)} {of}"
    if cost.outside:
        yield f"  and {cost.outside:.4f} {cost.currency} for what leaves the region, if this machine is not in it"
