"""The one place where calls are retried.

A call is repeated only for transient errors (``error.retryable``), a bounded number of times, with growing, jittered
pauses, and as long as the run's budget lasts: every retry costs a token, every call that succeeds after retries refunds
part of one. So a storage that is down fails a run within seconds, not after attempts times objects.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from mbk.engine.runtime.failures import cancelled
from mbk.errors import MbkError, MilvusError
from mbk.model.events import Event, RetryScheduled

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
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


class Retrier:
    """Retries calls within one run's budget. Several threads may call it."""

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
        self.retries = 0

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
        attempt = 1
        while True:
            try:
                result = function(*args, **kwargs)
            except MbkError as error:
                self._pause_or_raise(what, attempt, error, patience if isinstance(error, MilvusError) else 0)
                attempt += 1
            else:
                if attempt > 1:
                    self._refund()
                return result

    def stream(
        self, what: str, open_at: Callable[[int], AbstractContextManager[Iterator[bytes]]]
    ) -> Iterator[bytes]:
        """Chunks of a stream that is resumed where it broke: ``open_at`` gets the offset to resume from.

        Attempts are counted from the last byte received: a long stream may break as often as the budget allows.
        """
        offset, attempt = 0, 1
        while True:
            try:
                with open_at(offset) as chunks:
                    for chunk in chunks:
                        yield chunk
                        offset, attempt = offset + len(chunk), 1
                return
            except MbkError as error:
                self._pause_or_raise(what, attempt, error)
                attempt += 1

    def _pause_or_raise(self, what: str, attempt: int, error: MbkError, patience: int = 0) -> None:
        if not error.retryable:
            raise error
        if attempt >= max(patience, self._policy.attempts) or not self._spend(0 if patience else 1):
            raise error.final() from error.__cause__
        delay = min(self._policy.ceiling, self._policy.first * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        self._emit(RetryScheduled(what=what, attempt=attempt, delay=delay, error=error.message))
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
