"""The progress of a run on a terminal: a few lines that are drawn anew ten times a second, and gone at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mbk.cli import terminal
from mbk.cli.listener import Listener
from mbk.cli.progress_lines import drawing

_TIMES_A_SECOND = 10


class _Seldom:
    """What the function made last, made anew so seldom that it takes a tenth of the time at most: of thousands of collections,
    the run comes first."""

    def __init__(self, make: Callable[[], Text]) -> None:
        self._make = make
        self._made = Text()
        self._next = 0.0

    def __call__(self) -> Text:
        began = time.monotonic()
        if began >= self._next:
            self._made = self._make()
            ended = time.monotonic()
            self._next = ended + 9 * (ended - began)
        return self._made


@contextmanager
def drawn(listener: Listener) -> Iterator[None]:
    """From the first moment on: a thread of its own draws, whether events come or not."""
    console = Console(stderr=True)
    ascii = not (console.encoding or "").startswith("utf")

    def lines() -> Text:
        command = listener.command or "mbk"
        # The last cell of a line stays free: some terminals wrap there.
        shown = drawing(listener.meter, listener.seconds, command, console.width - 1, ascii=ascii)
        return Text(terminal.shown("\n".join(shown)), no_wrap=True, overflow="crop")

    listener.shows_retries = True
    with (
        Live(
            get_renderable=_Seldom(lines),
            console=console,
            transient=True,
            refresh_per_second=_TIMES_A_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        ),
        terminal.through(lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)),
    ):
        yield
