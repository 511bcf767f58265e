"""Standard error, for everything but results: notices, prompts, progress, logs, errors."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

import click

_writers: list[Callable[[str], None]] = []
#: Of the lines that are printed as JSON; docs/reference/output.md tells what changes it.
SCHEMA_VERSION = 1
_json = False
_CONTROLS = re.compile(r"\x1b(?!\[(?:0|3[0-7])m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


def json_lines(on: bool) -> None:
    """Whether each line is a JSON object from now on: ``--log-format json``."""
    global _json
    _json = on


def is_json() -> bool:
    return _json


def is_dumb() -> bool:
    """Whether the terminal can do nothing but print: as editors and some consoles say of theirs."""
    return os.environ.get("TERM") in ("dumb", "unknown")


def colored(stream: TextIO) -> bool:
    return not os.environ.get("NO_COLOR") and not is_dumb() and stream.isatty()


def paint(text: str, color: str, stream: TextIO) -> str:
    return click.style(text, fg=color) if colored(stream) else text


def shown(text: str) -> str:
    """Control characters as JSON writes them, except for lines, tabs and our own colours: names and reasons come from servers and
    from backups, and a terminal obeys what is in them."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def record(kind: str, **values: object) -> None:
    """Prints a JSON object."""
    _print(_object(kind, values))


def log(level: str, text: str, created: float | None = None, /, **values: object) -> None:
    """Prints a line of the log as JSON."""
    _print(log_line(level, text, created, **values))


def log_line(level: str, text: str, created: float | None = None, /, **values: object) -> str:
    """A line of the log as JSON; ``created`` in unix seconds, None for now."""
    from datetime import UTC, datetime

    moment = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    time = moment.isoformat(timespec="milliseconds")
    return _object("log", {"time": time, "level": level, "message": text.removeprefix("mbk: "), **values})


def _object(kind: str, values: Mapping[str, object]) -> str:
    import json

    told = {"schema_version": SCHEMA_VERSION, "kind": kind, **values}
    return json.dumps(told, ensure_ascii=False, default=str)


def line(text: str) -> None:
    """Prints one line for the user. A closed standard error is ignored."""
    if _json:
        log("info", text)
    else:
        _print(text)


def _print(text: str) -> None:
    text = shown(text)
    try:
        if _writers:
            _writers[-1](text)
        else:
            click.echo(text, err=True)
    except (OSError, ValueError):
        pass


def warning(text: str, **values: object) -> None:
    """``values``: what a program reads of it."""
    if _json:
        log("warning", text, **values)
        return
    line(f"mbk: {paint('warning', 'yellow', sys.stderr)}: {text}")


def error(text: str) -> None:
    if _json:
        log("error", text)
        return
    line(f"mbk: {paint('error', 'red', sys.stderr)}: {text}")


@contextmanager
def through(writer: Callable[[str], None]) -> Iterator[None]:
    """While a progress bar is on the screen, its writer prints the lines above it."""
    _writers.append(writer)
    try:
        yield
    finally:
        _writers.remove(writer)


def can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str) -> bool:
    return click.confirm(question, err=True)
