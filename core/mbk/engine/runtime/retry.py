"""The one place where calls are retried.

A call is repeated only for transient errors (``error.retryable``), a bounded number of times, with growing, jittered
pauses, and as long as the run's budget lasts: every retry costs a token, every call that succeeds after retries refunds
part of one. So a storage that is down fails a run within seconds, not after attempts times objects.

A storage that refuses some calls because they are too many (`Throttled`) is not down: as long as it serves others, a call
waits for its turn, and that costs no budget.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from mbk.engine.runtime.failures import cancelled
from mbk.errors import InvalidBackup, MbkError, MilvusError, Throttled
from mbk.frozen import frozen
from mbk.model.events import Event, RetryScheduled

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class RetryPolicy:
    """``attempts`` per call, pauses from ``first`` to ``ceiling`` seconds, a ``budget`` of retries for the run.

    ``refund``: what a call that succeeds after retries returns to the budget. Six attempts wait up to six seconds in
    total: enough for a service that throttles or restarts, short enough to fail a run whose storage is gone.
    """

    attempts: int = 6
    first: float = 0.2
    ceiling: float = 5.0
    budget: float = 200.0
    refund: float = 0.5


#: A service that is down is told after so many attempts or seconds, whichever comes first, but is asked twice at least.
OPENING_ATTEMPTS = 4
OPENING_SECONDS = 5.0
#: Attempts at a call that a storage refuses while it serves others: with the longest pauses about four minutes.
THROTTLED_ATTEMPTS = 60


def twice(look: Callable[[], T]) -> T:
    """What ``look`` returns or raises; damage is believed when it is seen again: a first reading may have been wrong."""
    try:
        return look()
    except InvalidBackup:
        return look()


@dataclass(slots=True)
class _Tries:
    """The attempts at one call: those ``made``, and those since which no other call succeeded (``in_vain``).

    ``patience``: how often a server which is there may be asked at least.
    """

    patience: int = 0
    made: int = 0
    in_vain: int = 0
    _succeeded: int = -1

    def allowed(self, error: MbkError, usual: int, succeeded: int) -> int:
        """Counts one more, which failed; returns how many there may be in all. More than ``usual`` cost no budget."""
        self.made += 1
        self.in_vain = self.in_vain + 1 if succeeded == self._succeeded else 1
        self._succeeded = succeeded
        if isinstance(error, Throttled):
            return THROTTLED_ATTEMPTS if self.in_vain < usual else usual
        return max(usual, self.patience if isinstance(error, MilvusError) else 0)


class _Thread(threading.local):
    """How many repeated calls this thread is in."""

    depth = 0


class Retrier:
    """Retries calls within one run's budget. Several threads may call it.

    A call inside of another one, in the same thread, is one attempt: the outer one repeats it.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        cancelled: threading.Event,
        *,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._policy = policy or RetryPolicy()
        self._emit = emit
        self._cancelled = cancelled
        self._tokens = self._policy.budget
        self._lock = threading.Lock()
        self._thread = _Thread()
        #: Calls that succeeded. Threads may overwrite each other's counts: it only has to change.
        self._succeeded = 0
        self.retries = 0

    @property
    def is_inside(self) -> bool:
        """Whether this thread is amid a call that is repeated as a whole."""
        return self._thread.depth > 0

    def or_once(self, what: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`; one attempt inside of another call."""
        return function(*args, **kwargs) if self.is_inside else self.call(what, function, *args, **kwargs)

    def briefly(self, what: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`, for the first call to a service: whoever mistyped its address should not wait long for the error."""
        until, attempts = time.monotonic() + OPENING_SECONDS, 0

        def once() -> T:
            nonlocal attempts
            attempts += 1
            try:
                return function(*args, **kwargs)
            except MbkError as error:
                late = attempts > 1 and time.monotonic() >= until
                if late or attempts >= OPENING_ATTEMPTS:
                    raise error.final() from error.__cause__
                raise

        return self.call(what, once)

    def call(self, what: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. ``what`` names the call for the user: ``read files/insert_log/…``.

        The arguments are evaluated once: what an attempt consumes (an iterator, a context) must be created in ``function``.
        """
        return self.patiently(0, what, function, *args, **kwargs)

    def patiently(
        self, patience: int, what: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `call`, with at least ``patience`` attempts at what a server which is there puts off (a rate limit).

        Waiting for it is no sign of trouble and costs no budget.
        """
        tries: _Tries | None = None  # most calls need one attempt
        while True:
            try:
                result = self._once(function, *args, **kwargs)
            except MbkError as error:
                tries = tries or _Tries(patience)
                self._pause_or_raise(what, tries, error)
            else:
                self._succeeded += 1
                if tries is not None:
                    self._refund()
                return result

    def stream(
        self, what: str, open_at: Callable[[int], AbstractContextManager[Iterator[bytes]]]
    ) -> Generator[bytes]:
        """Chunks of a stream that is resumed where it broke: ``open_at`` gets the offset to resume from.

        Attempts are counted from the last byte received: a long stream may break as often as the budget allows.
        """
        offset, tries = 0, _Tries()
        while True:
            try:
                with open_at(offset) as chunks:
                    for chunk in chunks:
                        yield chunk
                        offset += len(chunk)
                        tries.made = tries.in_vain = 0
                return
            except MbkError as error:
                self._pause_or_raise(what, tries, error)

    def count(self) -> None:
        """A worker of the run has repeated a call, within its own part of the budget."""
        with self._lock:
            self.retries += 1

    def _once(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        thread = self._thread
        thread.depth += 1
        try:
            return function(*args, **kwargs)
        finally:
            thread.depth -= 1

    def _pause_or_raise(self, what: str, tries: _Tries, error: MbkError) -> None:
        if not error.retryable:
            raise error
        attempts = tries.allowed(error, self._policy.attempts, self._succeeded)
        if tries.made >= attempts or not self._spend(0 if attempts > self._policy.attempts else 1):
            raise error.final() from error.__cause__
        delay = min(self._policy.ceiling, self._policy.first * 2 ** (tries.made - 1)) * random.uniform(
            0.5, 1.0
        )
        self._emit(RetryScheduled(what=what, attempt=tries.made, delay=delay, error=error.message))
        if self._cancelled.wait(delay):
            raise cancelled() from error

    def _spend(self, tokens: int) -> bool:
        with self._lock:
            if self._tokens < tokens:
                return False
            self._tokens -= tokens
            self.retries += 1
            return True

    def _refund(self) -> None:
        with self._lock:
            self._tokens = min(self._policy.budget, self._tokens + self._policy.refund)
