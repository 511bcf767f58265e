"""What all runs of a session share of a budget that is counted in seconds: requests in flight, requests and bytes a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.concurrency import Concurrency
from mbk.engine.runtime.tokens import TokenBucket
from mbk.frozen import frozen
from mbk.model.rates import Bandwidth
from mbk.ports.storage import Location

#: As `mbk.engine.runtime.tokens.BURST`: a streamed object waits for both directions in turn, and what one of them did not
#: use meanwhile is missing later. With a fifth of it, 50 MiB/s were reached to 77 % on a busy machine, with it to 99 %.
BYTE_BURST = 0.25

#: Threads that prepare or end a request while others wait for their answers. With none there would seldom be as many in
#: flight as may be, which is how it is known that more would be used; each thread that waits for its turn costs the processor.
BETWEEN = 2


@frozen(kw_only=True)
class Gate:
    """What the requests to one storage pass; None where nothing limits. ``reads`` and ``writes`` are counted in bytes."""

    flow: Concurrency
    requests: TokenBucket | None
    reads: TokenBucket | None
    writes: TokenBucket | None


class Steering:
    """One for all runs of a session. Several threads may use it.

    Each storage has requests of its own; two storages in one bucket have them together. Bytes are those of the whole
    process, those read and those written each, as a line has two directions.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._lock = threading.Lock()
        self._gates: dict[tuple[str, str, str, str], Gate] = {}
        self._reads = self._bytes(budget.max_bandwidth, now)
        self._writes = self._bytes(budget.max_bandwidth, now)

    def gate(self, location: Location) -> Gate:
        """That of the bucket at this location."""
        place = (location.backend, location.endpoint, location.account, location.bucket)
        with self._lock:
            if place not in self._gates:
                self._gates[place] = self._made()
            return self._gates[place]

    def workers(self, *locations: Location) -> Callable[[], int]:
        """Tells how many threads can make requests to these storages now, counting those between two requests."""
        flows = [gate.flow for gate in {self.gate(location): None for location in locations}]
        return lambda: sum(flow.limit for flow in flows) + BETWEEN

    def _made(self) -> Gate:
        budget = self._budget
        rate = budget.max_rate
        return Gate(
            flow=Concurrency(budget.copies, adaptive=budget.adaptive, clock=self._clock),
            requests=None if rate is None else TokenBucket(lambda: rate, clock=self._clock),
            reads=self._reads,
            writes=self._writes,
        )

    def _bytes(self, bandwidth: Bandwidth, now: Callable[[], datetime]) -> TokenBucket | None:
        if bandwidth.is_unlimited:
            return None
        return TokenBucket(lambda: bandwidth.at(now()), burst=BYTE_BURST, clock=self._clock)


class Brakes:
    """What limited one run. Several threads may add to it; it is right to one or two."""

    def __init__(self) -> None:
        #: The largest number of requests that were in flight at one storage at once.
        self.most = 0
        #: Requests that a storage refused for now, and calls that waited for a request's or for a byte's turn.
        self.refused = 0
        #: How many requests were in flight with the one that was refused last, itself included.
        self.refused_at = 0
        self.waited_for_requests = 0
        self.waited_for_bytes = 0

    def limited(self, budget: Budget) -> tuple[str, ...]:
        """Why the run was not faster, as far as the budget and the storages' refusals tell."""
        reasons = []
        if self.waited_for_requests:
            reasons.append(
                f"transfer.maxRate held it to {budget.max_rate:g} requests a second at each storage"
            )
        if self.waited_for_bytes:
            reasons.append(f"transfer.maxBandwidth held it to {budget.max_bandwidth}")
        if self.refused:
            reasons.append(
                f"a storage refused {self.refused} requests as too many, the last one of {self.refused_at} in flight at once"
            )
        return tuple(reasons)
