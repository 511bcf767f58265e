"""How many requests may be in flight at one storage at once, found out from its answers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from mbk.engine.runtime.failures import cancelled
from mbk.engine.runtime.tokens import Cancelled
from mbk.errors import StorageUnavailable, Throttled

#: Few enough that the first requests of a run overload no service; doubled while that is worth it, it is at the maximum of
#: 128 after some ten round trips.
START = 8
#: What twice as many requests at once must bring to be kept. More than a service can do only wait, in it and here, where
#: each costs the processor: of a MinIO that shares two cores, 0.84 ms a copy with 128 at once and 0.68 with 32. Less than a
#: tenth cannot be told from chance in a few round trips.
GAIN = 1.1
#: Round trips whose duration is measured: of the first climb, which must be quick, and of the later ones, which had better be
#: right; and those that pass before half as many and twice as many are tried again. With objects whose times differ as those
#: of a Poisson process, simulated storages that take 6 to 50 at once get 91 to 99 % of their load.
FIRST, SAMPLE, REST = 2, 4, 64
#: Seconds that a request takes at least, as far as a clock can tell.
INSTANT = 1e-6
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
    """A request in flight: the thread that makes it, the limit's ``generation`` when it began, how many then were in
    flight with it, and when that was.
    """

    thread: int
    generation: int
    load: int
    since: float


class _Turn:
    """A thread that waits for another request to end."""

    __slots__ = ("thread", "ticket", "wake")

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.ticket: Ticket | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class _Climb:
    """How far the limit may grow: twice as far, as long as twice as many at once are served faster by `GAIN`.

    What is served in a second is how many are in flight by how long each of them takes, so nobody need be busy all the
    time to tell it. Under the lock of its owner.
    """

    def __init__(self, most: int) -> None:
        self.level = self._least = min(START, most)
        self._most = most
        #: The level before this one and its rate; None while this one's is not known to be worth it.
        self._below: tuple[int, float] | None = None
        self._rest = 0
        self._sample = FIRST
        self._forget()

    def served(self, load: int, seconds: float) -> None:
        """One more, which took so long among so many."""
        if self._rest:
            self._rest -= 1
            if not self._rest:
                self.level = max(self._least, self.level // 2)
        elif self.level < 2 * load <= 2 * self.level:
            self._count += 1
            self._load += load
            self._seconds += seconds
            if self._count >= self._sample * self.level:
                self._judge(self._load / max(self._seconds, INSTANT))
                self._forget()

    def _judge(self, rate: float) -> None:
        if self._below is not None and rate < GAIN * self._below[1]:
            self._settle(self._below[0])
        elif self.level == self._most:
            self._settle(self._most)
        else:
            self._below = self.level, rate
            self.level = min(2 * self.level, self._most)

    def _settle(self, level: int) -> None:
        self.level, self._below, self._rest, self._sample = level, None, REST * level, SAMPLE

    def _forget(self) -> None:
        self._count, self._load, self._seconds = 0, 0, 0.0


class Concurrency:
    """At most ``most`` requests at once; where it is ``adaptive``, as many of them as the storage can do with.

    Several threads may call it; they get their turns in the order in which they came. A thread amid a request makes
    further ones without waiting: they belong to it, as the reading of what is being written does. It must not wait for
    requests of other threads meanwhile.

    The limit starts at `START` and doubles for as long as that makes the storage faster. Where the storage refuses a
    request it is halved instead, and grows by what is refused from then on. The answers to requests that were under way
    at that moment do not halve it again. It never grows while fewer requests are made than it allows.
    """

    def __init__(self, most: int, *, adaptive: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._adaptive = adaptive
        self._clock = clock
        self._lock = threading.Lock()
        #: None once the storage tells its limit itself.
        self._climb: _Climb | None = _Climb(most)
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
        return Ticket(thread, self._generation, self._in_flight, self._clock())

    def _give_up(self, turn: _Turn) -> None:
        with self._lock:
            if turn.ticket is None:
                self._waiting.remove(turn)
        self.leave(turn.ticket, Outcome.OTHER)

    def _learn(self, ticket: Ticket, outcome: Outcome) -> None:
        if outcome is Outcome.REFUSED and ticket.generation == self._generation:
            self._generation += 1
            self._climb = None
            refused = min(self._limit, ticket.load)
            self._limit = max(1.0, refused * DECREASE)
            self._fast_until = max(1.0, refused * RECOVERY)
        elif outcome is Outcome.SERVED:
            if self._climb is not None:
                self._climb.served(ticket.load, self._clock() - ticket.since)
                self._limit = min(self._limit, self._climb.level)
                self._fast_until = self._climb.level
            if self._in_flight + 1 > self._limit:
                self._grow()

    def _grow(self) -> None:
        if self._limit < self._fast_until:
            self._limit = min(self._fast_until, self._limit + 1.0)
        elif self._climb is None:
            self._limit = min(float(self.most), self._limit + 1.0 / self._limit)
