"""How long a request to a storage waits for a service that says nothing: the engine gives up when a run is told to stop.

The engine sets who is asked around each call of a storage (`asking`); whatever waits inside of it does so in slices of
`SLICE` seconds, and asks after each (`asked`). A plugin that goes on in a thread of its own takes it along (`carried`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeAlias, TypeVar

#: Seconds until a run that was told to stop notices it amid a request: a fraction of what people take for stuck, and so
#: long that a hundred waiting threads cost less than 1 % of a processor.
SLICE = 0.5

#: Gets the time, by `time.monotonic`, since which nothing came; raises what the call is to end with.
Ask: TypeAlias = Callable[[float], None]

P = ParamSpec("P")
T = TypeVar("T")


def patiently(since: float) -> None:
    """Nobody tells this thread to stop."""


class _Thread(threading.local):
    ask: Ask = staticmethod(patiently)


_thread = _Thread()


def asked() -> Ask:
    """Who is asked in this thread."""
    return _thread.ask


def asking(ask: Ask) -> Ask:
    """From now on this one is asked in this thread; returns who was before, to be set again."""
    before, _thread.ask = _thread.ask, ask
    return before


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """The function for another thread, in which the same one is asked as here."""
    ask = asked()

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        before = asking(ask)
        try:
            return function(*args, **kwargs)
        finally:
            asking(before)

    return call
