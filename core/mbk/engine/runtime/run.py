"""What all steps of one run share: events, retries, cancellation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.failures import cancelled
from mbk.engine.runtime.patience import Patience
from mbk.engine.runtime.retry import Retrier, RetryPolicy
from mbk.engine.runtime.steering import Brakes, Steering
from mbk.errors import MbkError, filled, plain
from mbk.model.events import Event, Notice, PhaseStarted, RetryScheduled, RunFinished, RunStarted


class Run:
    """One run of a command. Several threads may use it; ``emit`` is called from any of them, with one event at a time.

    What ``emit`` raises fails the step that sent the event. ``cancelled`` may be the caller's, to stop the run from
    outside. ``budget``: what it may use at a time. ``steering``: what it shares of that with other runs, if with any.
    ``patience``: that of the run after which this one tidies up.
    """

    def __init__(
        self,
        emit: Callable[[Event], None] | None = None,
        *,
        policy: RetryPolicy | None = None,
        cancelled: threading.Event | None = None,
        budget: Budget | None = None,
        steering: Steering | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._listener = emit
        self.policy = policy or RetryPolicy()
        self._lock = threading.RLock()
        self.cancelled = cancelled or threading.Event()
        self.budget = budget or Budget()
        self.steering = steering or Steering(self.budget)
        self.patience = patience or Patience(self.cancelled)
        self.brakes = Brakes()
        self.notices: list[str] = []
        self.retry = Retrier(self.emit, self.cancelled, policy=self.policy)

    def emit(self, event: Event) -> None:
        with self._lock:
            if self._listener is not None:
                self._listener(event)

    def notice(self, code: str, sentence: str, /, collection: str = "", **facts: object) -> None:
        """Tells the user something that does not stop the run; it is in the report, too.

        The sentence names its ``facts``, and ``collection``, in braces; one without facts is text as it is.
        """
        message = filled(sentence, {"collection": collection, **facts} if facts or collection else {})
        self.relay(Notice(code=code, message=message, collection=collection, facts=plain(facts)))

    def relay(self, event: Event) -> None:
        """Tells what a worker told its own run: a notice once, and a retry is counted."""
        if isinstance(event, RetryScheduled):
            self.retry.count()
        if isinstance(event, Notice):
            with self._lock:
                if event.message in self.notices:
                    return
                self.notices.append(event.message)
        self.emit(event)

    def phase(self, phase: str, collection: str = "") -> None:
        self.emit(PhaseStarted(phase=phase, collection=collection))

    def afterwards(self) -> Run:
        """For tidying up: the same events, and not cancelled when this run is, but then it waits for no silent service."""
        return Run(
            self.emit,
            policy=self.policy,
            budget=self.budget,
            steering=self.steering,
            patience=self.patience,
        )

    def check_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise cancelled()

    def sleep(self, seconds: float) -> None:
        """Waits; raises `Interrupted` as soon as the run is cancelled."""
        with self.stopping():
            if self.cancelled.wait(seconds):
                raise cancelled()

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Around what Ctrl-C may meet: it cancels the run before anything is tidied up."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self.cancelled.set()
            raise

    @contextmanager
    def command(self, command: str, name: str) -> Iterator[None]:
        """Emits the first and the last event of a run; on any error it cancels what is still running."""
        started = time.monotonic()
        self.emit(RunStarted(command=command, name=name))
        error: str | None = None
        try:
            yield
        except BaseException as exc:
            self.cancelled.set()
            error = str(exc) if isinstance(exc, MbkError) else type(exc).__name__
            raise
        finally:
            seconds = time.monotonic() - started
            self.emit(RunFinished(command=command, name=name, seconds=seconds, error=error))
