"""Standard output: tables, JSON and YAML, with exact integers. Nothing else is ever written there."""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from mbk.cli import terminal
from mbk.model.moments import spelled
from mbk.model.reports import (
    CollectionOutcome,
    DeletionReport,
    GcReport,
    Leftover,
    MigrationReport,
    PinReport,
    PrunedBackup,
    PruneReport,
    RunReport,
    UndeleteReport,
)
from mbk.model.states import BackupState, CollectionState

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_NUMBER = re.compile(r"<?[\d.]+( ([KMGTP]i)?B| s)?")
_COLORS: Mapping[str, str] = {
    CollectionState.DONE: "green",
    CollectionState.FAILED: "red",
    BackupState.COMPLETE: "green",
    BackupState.UNREADABLE: "red",
    BackupState.INCOMPLETE: "yellow",
}
#: The exit code that a shell reports for a program whose reader left (128 + SIGPIPE).
_READER_GONE = 141


def emit(text: str) -> None:
    """Prints a result. If the reader has left (``| head``), the program ends silently."""
    try:
        click.echo(terminal.shown(text))
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit: give it somewhere to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(_READER_GONE) from None


def plain(value: object) -> Any:
    """The value as lists, dictionaries, strings and exact numbers."""
    import msgspec

    return msgspec.to_builtins(value, str_keys=True)


def versioned(data: Any) -> Any:
    """Plain data with the version of its schema: an object, or each of a list (docs/reference/output.md)."""
    if isinstance(data, list):
        return [versioned(item) for item in data]
    return {"schema_version": terminal.SCHEMA_VERSION, **data}


def emit_data(value: object, output: str | None, *, of_classic_tool: bool = False) -> None:
    """Prints a value as YAML, or as indented JSON for any other ``output``. ``of_classic_tool``: its document stays as it is."""
    data = plain(value) if of_classic_tool else versioned(plain(value))
    if output == "yaml":
        import yaml

        emit(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000).rstrip())
    else:
        import json

        emit(json.dumps(data, indent=4, ensure_ascii=False))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns, two spaces apart, readable by eye and by ``awk``. Numbers are right-aligned."""
    body = [list(row) for row in rows]
    widths = [max(map(_width, column)) for column in zip(header, *body, strict=True)]
    right = [_numeric([row[place] for row in body]) for place in range(len(header))]
    painted = {word: terminal.paint(word, color, sys.stdout) for word, color in _COLORS.items()}
    lines = [_line(cells, widths, right, painted) for cells in (header, *body)]
    return "\n".join(lines)


def _line(
    cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], painted: Mapping[str, str]
) -> str:
    padded = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        space = " " * (width - _width(cell))
        shown = painted.get(cell, cell)
        padded.append(space + shown if to_right else shown + space)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _numeric(cells: Sequence[str]) -> bool:
    values = [cell for cell in cells if cell != "-"]
    return bool(values) and all(map(_NUMBER.fullmatch, values))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; ``spare``: how early it is left out where there is no room, 0 never."""

    title: str
    cells: Sequence[str]
    spare: int = 0


def fitted(columns: Sequence[Column]) -> str:
    """A table. On a terminal, as many of the columns as fit into its width; elsewhere all of them."""
    left = list(columns)
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    while (
        room is not None and _total(left) > room and (spare := max(left, key=lambda item: item.spare)).spare
    ):
        left.remove(spare)
    return table([item.title for item in left], zip(*(item.cells for item in left), strict=True))


def _total(columns: Sequence[Column]) -> int:
    return sum(max(map(_width, (item.title, *item.cells))) + 2 for item in columns) - 2


def size(count: int | None) -> str:
    """Bytes for a human: ``1.4 GiB``, or ``-`` if they are unknown."""
    if count is None:
        return "-"
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def counted(count: int, what: str) -> str:
    """``1 object``, ``2 objects``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``12 s``, ``3 min 5 s``, ``2 h 40 min``, ``5 d 3 h``, or ``-`` if it is unknown."""
    if seconds is None:
        return "-"
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else "-"


def result(value: object, output: str | None) -> None:
    """Prints the result of an operation, by its kind of report."""
    if isinstance(value, RunReport):
        report(value, output)
    elif output in ("json", "yaml"):
        emit_data(value, output)
    elif isinstance(value, MigrationReport):
        emit(
            f"migrate {value.name}: {counted(value.objects, 'object')} ({size(value.size)}) uploaded to volume "
            f"{value.volume} in {value.seconds:.1f} s; migration job {value.job} is running in {value.cluster}"
        )
    elif isinstance(value, DeletionReport):
        versions = f", {counted(value.deleted_versions, 'old version')}" if value.deleted_versions else ""
        emit(f"deleted {value.name}: {counted(value.deleted_objects, 'object')}{versions}")
    elif isinstance(value, UndeleteReport):
        again = f"; {value.rewritten} of them written again" if value.rewritten else ""
        there = f"; {counted(value.present, 'object')} already there" if value.present else ""
        emit(
            f"undelete {value.name}: {counted(value.returned, 'object')} ({size(value.size)}) back in {value.seconds:.1f} s"
            f"{again}{there}; at {value.location}"
        )
    elif isinstance(value, PinReport):
        until = f" until {moment(value.pin.until)}" if value.pin and value.pin.until else ""
        emit(f"{value.name} is pinned{until}" if value.pin else f"{value.name} is not pinned")
    elif isinstance(value, PruneReport):
        emit_pruned(value)
    elif isinstance(value, GcReport):
        emit_leftovers(value.leftovers)
        left = f"; what {counted(value.left, 'deleted backup')} had stays for now" if value.left else ""
        emit(
            f"gc: {counted(value.deleted_objects, 'object')} ({size(value.freed)}) removed in {value.seconds:.1f} s{left}; "
            f"in {value.location}"
        )


#: What a gc does with a leftover, as a word for the beginning of a line.
_DONE = {"planned": "removes", "removed": "removed", "kept": "leaves", "failed": "cannot remove"}


def emit_leftovers(leftovers: Iterable[Leftover]) -> None:
    for item in leftovers:
        reason = f"; {item.reason}" if item.reason else ""
        emit(f"  {_DONE[item.outcome]} {item.text}{reason}")


def emit_pruned(report: PruneReport) -> None:
    if report.backups:
        emit(pruned(report.backups))
    for item in report.backups:
        if item.error:
            emit(f"  {item.name}: {item.error}")
    versions = f", {counted(report.deleted_versions, 'old version')}" if report.deleted_versions else ""
    emit(f"prune: {freed(report.backups, 'deleted')}{versions}; in {report.location}")


def pruned(backups: Sequence[PrunedBackup]) -> str:
    """Which backups stay and which go, and why."""
    header = ("NAME", "OUTCOME", "STATE", "SIZE", "CREATED", "BECAUSE")
    words = {"planned": "goes", "kept": "stays"}
    rows = [
        (
            item.name,
            words.get(item.outcome, item.outcome),
            str(item.state),
            size(item.size),
            moment(item.created),
            ", ".join(item.reasons),
        )
        for item in backups
    ]
    return table(header, rows)


def freed(backups: Sequence[PrunedBackup], outcome: str) -> str:
    """``2 of 5 backups, 1.4 GiB``."""
    gone = [item for item in backups if item.outcome == outcome]
    return f"{len(gone)} of {counted(len(backups), 'backup')}, {size(sum(item.size or 0 for item in gone))}"


def report(run: RunReport, output: str | None) -> None:
    """Prints the report of a command that works on collections."""
    if output in ("json", "yaml"):
        emit_data({**plain(run), "size": run.size, "dry_run": False}, output)
        return
    if run.collections:
        emit(_outcomes(run.collections, renamed=run.command == "restore"))
    for item in run.collections:
        for text in (*((item.error,) if item.error else ()), *item.notes):
            emit(f"  {item.source}: {text}")
    emit(_summary(run))
    for text in _next(run):
        emit(f"  {text}")


def _outcomes(collections: Sequence[CollectionOutcome], *, renamed: bool) -> str:
    counts_known = any(
        item.rows_expected is not None or item.rows_present is not None for item in collections
    )
    columns = [Column("COLLECTION", [item.source for item in collections], 3 if renamed else 0)]
    if renamed:
        columns.append(Column("TARGET", [item.target for item in collections]))
    columns.append(Column("OUTCOME", [item.outcome for item in collections]))
    if counts_known:
        title = "EXPECTED" if renamed else "ROWS"
        columns.append(Column(title, [count(item.rows_expected) for item in collections], 2))
    if counts_known and renamed:
        columns.append(Column("PRESENT", [count(item.rows_present) for item in collections], 1))
    columns += [
        Column("OBJECTS", [count(item.objects) for item in collections], 5),
        Column("SIZE", [size(item.size) for item in collections], 4),
        Column("TIME", [f"{item.seconds:.1f} s" for item in collections], 6),
    ]
    return fitted(columns)


def count(rows: int | None) -> str:
    """A number, or ``-`` if it is unknown."""
    return "-" if rows is None else str(rows)


#: How deep a run compared what it moved, and what would go deeper.
_COPIES: Mapping[str, str] = {
    "auto": "sizes, and digests where they are told; --checksum full reads every copy back",
    "full": "every copy was read back",
}
_RECORD: Mapping[str, str] = {
    "none": "nothing, as --verify none says",
    "listing": "sizes, and digests where they are told; --verify contents reads every object",
    "auto": "sizes and digests, and contents where no digest is told; --verify contents reads all",
    "contents": "sizes, and the contents of every object",
}


def _next(run: RunReport) -> Iterator[str]:
    """What matters next, a short line each."""
    stats = run.transfer
    if stats.streamed_because and (stats.objects.get("stream") or run.command != "copy"):
        hint = f"; {stats.streamed_hint}" if stats.streamed_hint else ""
        yield f"streamed because {stats.streamed_because}{hint}"
    if run.command == "restore" and run.compared:
        yield f"compared with the backup's record: {_RECORD[run.compared]}"
    elif run.compared:
        yield f"compared with their sources: {_COPIES[run.compared]}"
    yield from as_of(run.collections)
    for todo in run.todo:
        names = todo.collections
        what = names[0] if len(names) == 1 else counted(len(names), "collection")
        yield f"{todo.message} ({what}): do it with your client, or restore with {todo.option}"


def as_of(collections: Sequence[CollectionOutcome]) -> Iterator[str]:
    """Which moments they are of, and how far that is from the one that was asked for: one line for those of one moment."""
    alike: dict[tuple[datetime, float | None], list[str]] = {}
    for item in collections:
        if item.moment is not None:
            alike.setdefault((item.moment, item.behind), []).append(item.target)
    for (when, behind), names in sorted(alike.items()):
        what = names[0] if len(names) == 1 else counted(len(names), "collection")
        before = f", {_lasting(behind)} before the moment asked for" if behind else ""
        exactly = ", the moment asked for" if behind == 0 else ""
        yield f"as of {spelled(when)}{before}{exactly} ({what})"


def _lasting(seconds: float) -> str:
    """``48.2 s``, ``12 min``, ``5.1 h``, ``3.0 days``."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _summary(run: RunReport) -> str:
    done = len(run.collections) - len(run.failed)
    whole = counted(len(run.collections), "collection")
    parts = [f"{done} of {whole}" if run.failed else whole]
    parts[0] += f", {size(run.size)} in {run.seconds:.1f} s"
    copied = run.command == "copy"
    ways = {
        "server": "copied by the storage",
        "stream": "streamed",
        "convert": "written with the new name" if copied else "converted",
        "kept": "already there" if copied else "kept from the interrupted run",
        "reused": "in earlier backups already",
    }
    for way, words in ways.items():
        if run.transfer.objects.get(way):
            moved = size(run.transfer.bytes.get(way, 0))
            parts.append(f"{counted(run.transfer.objects[way], 'object')} ({moved}) {words}")
    if run.transfer.limited_because:
        parts.append(run.transfer.limited_because)
    if run.transfer.retries:
        parts.append("1 retry" if run.transfer.retries == 1 else f"{run.transfer.retries} retries")
    place = f"{'from' if run.command == 'restore' else 'at'} {run.location}"
    return f"{run.command} {run.name}: {'; '.join(parts)}; {place}"
