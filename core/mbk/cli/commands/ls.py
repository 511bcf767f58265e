"""``mbk ls``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import click

from mbk.cli.app import App
from mbk.cli.choosing import help_of
from mbk.cli.options import generated, value_of
from mbk.cli.parsing import Command
from mbk.cli.render import counted, emit, moment, plain, size, versioned
from mbk.model.listings import Entry
from mbk.model.operations import OPERATIONS
from mbk.model.options import LsOptions

LS = OPERATIONS["ls"]
#: Lines that are printed at once: a page of most services, so that what has come is shown while the next one is fetched.
BATCH = 1000


@click.command("ls", cls=Command, help=help_of(LS), params=generated(LS.options))
@click.pass_obj
def command(app: App, /, **given: Any) -> None:
    options = value_of(LsOptions, given)
    with app.session() as session:
        entries = session.ls(options.where, recursive=options.recursive, totals=options.totals)
        if app.output == "json":
            _print_batches(_json(entries))
        elif app.output == "yaml":
            _print_batches(_yaml(entries))
        elif app.quiet:
            _print_batches(entry.name for entry in entries)
        else:
            _print_batches(_lines(entries, totals=options.totals))


def _print_batches(lines: Iterable[str]) -> None:
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        emit("\n".join(batch))


def _lines(entries: Iterable[Entry], *, totals: bool) -> Iterator[str]:
    """A line for each, and one for their sum. The columns have fixed widths: what comes later is not known yet."""
    directories, objects, total = 0, 0, 0
    for entry in entries:
        directories += entry.is_directory
        objects += (entry.objects or 0) if entry.is_directory else 1
        total += entry.size or 0
        shown = size(entry.size) if entry.size is not None else "-"
        number = f"{entry.objects if entry.objects is not None else '-':>9}  " if totals else ""
        yield f"{moment(entry.modified):<20}  {shown:>10}  {number}{entry.name}"
    parts = [f"{directories} director{'y' if directories == 1 else 'ies'}"] if directories else []
    if objects or not directories:
        parts.append(f"{counted(objects, 'object')}, {size(total)}")
    yield ", ".join(parts)


def _json(entries: Iterable[Entry]) -> Iterator[str]:
    """One array, an element a line: it is printed while the listing goes on."""
    before = "["
    for entry in entries:
        yield before + json.dumps(versioned(plain(entry)), ensure_ascii=False)
        before = ","
    yield "]" if before == "," else "[]"


def _yaml(entries: Iterable[Entry]) -> Iterator[str]:
    import yaml

    is_empty = True
    for entry in entries:
        is_empty = False
        yield yaml.safe_dump(
            [versioned(plain(entry))], sort_keys=False, allow_unicode=True, width=1000
        ).rstrip()
    if is_empty:
        yield "[]"
