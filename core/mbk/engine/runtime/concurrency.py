"""How many requests may be in flight at one storage at once, found out from its answers."""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum, auto
from typing import NamedTuple

from mbk.engine.runtime.failures import cancelled
from mbk.engine.runtime.tokens import Cancelled
from mbk.errors import StorageUnavailable, Throttled

#: Few enough that the first requests of a run overload no service; doubled with each round trip that the service answers,
#: it is at the maximum of 128 after four.
START = 8
#: What is left of the limit after a refusal, as TCP does it: a service that says stop wants to be left alone.
DECREASE = 0.5
#: Up to this part of the load that was refused the way back is fast, beyond it by one in a round trip. A storage that takes
#: 3 to 100 requests at once was simulated: it gets 94 to 100 % of its load, and refuses 0.2 % (100 at once) to 17 % (3).
RECOVERY = 7 / 8
#: Seconds between checks for cancellation while waiting for another request to end, which wakes the next at once.
LOOK = 0.5


class Outcome(Enum):
    """What a request says about the load. ``OTHER`` says nothing: an error of the request's own, or of its caller."""

    SERVED = auto()
    REFUSED = auto()
    OTHER = auto()


def outcome_of(error: BaseException) -> Outcome:
    """Answers 429, 503 and the like, and no answer at all, tell of too many requests; any other answer is an answer."""
    if isinstance(error, (Throttled, StorageUnavailable)):
        return Outcome.REFUSED
    return Outcome.OTHER


class Ticket(NamedTuple):
    """A request in flight: the thread that makes it, the limit's ``generation`` when it began, and how many then were
    in flight with it.
    """

    thread: int
    generation: int
    load: int


class _Turn:
    """A thread that waits for another request to end."""

    __slots__ = ("thread", "ticket", "wake")

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.ticket: Ticket | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class Concurrency:
    """At most ``most`` requests at once; where it is ``adaptive``, as many of them as the storage can do with.

    Several threads may call it; they get their turns in the order in which they came. A thread amid a request makes
    further ones without waiting: they belong to it, as the reading of what is being written does. It must not wait for
    requests of other threads meanwhile.

    The limit starts at `START` and grows by one with each request served, which doubles it in a round trip, until the
    storage refuses one: then it is halved. The answers to requests that were under way at that moment do not halve it
    again. It never grows while fewer requests are made than it allows.
    """

    def __init__(self, most: int, *, adaptive: bool) -> None:
        self.most = most
        self._adaptive = adaptive
        self._lock = threading.Lock()
        self._limit = float(min(START, most) if adaptive else most)
        self._fast_until = float(most)
        self._generation = 0
        self._in_flight = 0
        self._inside: set[int] = set()
        self._waiting: deque[_Turn] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    def enter(self, stop: Cancelled, *, urgent: bool = False, thread: int | None = None) -> Ticket | None:
        """Waits until a request may be made; `leave` must follow. None: it is a part of another one.

        ``urgent``: it is counted, and does not wait. ``thread``: who makes it, None for the calling thread. Raises
        `Interrupted` if ``stop`` is set while it waits.
        """
        thread = threading.get_ident() if thread is None else thread
        with self._lock:
            if thread in self._inside:
                return None
            if urgent or (self._in_flight + 1 <= self._limit and not self._waiting):
                return self._admitted(thread)
            turn = _Turn(thread)
            self._waiting.append(turn)
        try:
            while not turn.wake.acquire(timeout=LOOK) and not stop.is_set():
                pass
            if stop.is_set():
                raise cancelled()
        except BaseException:  # Ctrl-C, too: nobody else would give the turn back
            self._give_up(turn)
            raise
        return turn.ticket

    def leave(self, ticket: Ticket | None, outcome: Outcome) -> None:
        """The request has ended so."""
        if ticket is None:
            return
        with self._lock:
            if self._adaptive:
                self._learn(ticket, outcome)
            self._in_flight -= 1
            self._inside.discard(ticket.thread)
            while self._waiting and self._in_flight + 1 <= self._limit:
                turn = self._waiting.popleft()
                turn.ticket = self._admitted(turn.thread)
                turn.wake.release()

    def _admitted(self, thread: int) -> Ticket:
        self._in_flight += 1
        self._inside.add(thread)
        return Ticket(thread, self._generation, self._in_flight)

    def _give_up(self, turn: _Turn) -> None:
        with self._lock:
            if turn.ticket is None:
                self._waiting.remove(turn)
        self.leave(turn.ticket, Outcome.OTHER)

    def _learn(self, ticket: Ticket, outcome: Outcome) -> None:
        if outcome is Outcome.REFUSED and ticket.generation == self._generation:
            self._generation += 1
            refused = min(self._limit, ticket.load)
            self._limit = max(1.0, refused * DECREASE)
            self._fast_until = max(1.0, refused * RECOVERY)
        elif outcome is Outcome.SERVED and self._in_flight + 1 > self._limit:
            if self._limit < self._fast_until:
                self._limit = min(self._fast_until, self._limit + 1.0)
            else:
                self._limit = min(float(self.most), self._limit + 1.0 / self._limit)
