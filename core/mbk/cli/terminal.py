"""Standard error, for everything but results: notices, prompts, progress, logs, errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

_writers: list[Callable[[str], None]] = []


def colored(stream: TextIO) -> bool:
    return not os.environ.get("NO_COLOR") and stream.isatty()


def paint(text: str, color: str, stream: TextIO) -> str:
    return click.style(text, fg=color) if colored(stream) else text


def line(text: str) -> None:
    """Prints one line for the user. A closed standard error is ignored."""
    try:
        if _writers:
            _writers[-1](text)
        else:
            click.echo(text, err=True)
    except (OSError, ValueError):
        pass


def warning(text: str) -> None:
    line(f"mbk: {paint('warning', 'yellow', sys.stderr)}: {text}")


def error(text: str) -> None:
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
