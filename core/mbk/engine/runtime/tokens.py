"""A token bucket: how many requests, or bytes, may pass in a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from mbk.engine.runtime.failures import cancelled

#: Seconds of tokens that are kept while nobody takes any, so that threads that woke up late catch up. On a machine with
#: ten times more work than cores, 1000 requests a second were reached to 96 % with half of it.
BURST = 0.1
#: Seconds between looks at the limit, which may depend on the time of day.
LOOK = 1.0


class Cancelled(Protocol):
    """What of `threading.Event` a waiter needs."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class TokenBucket:
    """Several threads may call it. It is fair: tokens are given in the order in which they were asked for.

    ``limit`` returns the tokens a second at this time, None for any number. ``burst``: seconds of tokens that are kept.
    ``clock`` in seconds, never going back.
    A caller takes its place at once and waits until all tokens before its own have come: an amount above what a second
    brings delays the next caller, not this one. So nobody waits for ever, and no thread is woken but at its time.
    """

    def __init__(
        self,
        limit: Callable[[], float | None],
        *,
        burst: float = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._at = clock()
        self._rate = limit()
        self._looked = self._at
        #: Tokens that have come, and those that were given away, since the beginning.
        self._come = 0.0
        self._given = 0.0

    def take(self, amount: float, stop: Cancelled, *, urgent: bool = False) -> bool:
        """Waits for its turn; returns whether it had to. ``urgent``: the tokens are taken without waiting.

        Raises `Interrupted` as soon as ``stop`` is set while it waits.
        """
        with self._lock:
            self._fill()
            place = self._given
            self._given += amount
            delay = 0.0 if urgent else self._missing(place)
        if not delay:
            return False
        while delay:
            if stop.wait(min(delay, LOOK)):
                raise cancelled()
            with self._lock:
                self._fill()
                delay = self._missing(place)
        return True

    def _fill(self) -> None:
        now = self._clock()
        if now - self._looked >= LOOK:
            self._rate, self._looked = self._limit(), now
        if self._rate is None:
            self._come = max(self._come, self._given)
        else:
            self._come += (now - self._at) * self._rate
            self._given = max(self._given, self._come - self._rate * self._burst)
        self._at = now

    def _missing(self, place: float) -> float:
        """Seconds until the tokens before ``place`` have come; less than a microsecond is none."""
        if self._rate is None:
            return 0.0
        seconds = (place - self._come) / self._rate
        return seconds if seconds > 1e-6 else 0.0
