"""How long a run waits for a storage that says nothing: as long as the storage's own time-outs, until it is told to stop."""

from __future__ import annotations

import threading
import time

from mbk.engine.runtime.failures import cancelled
from mbk.ports.waiting import Ask

#: Seconds that tidying up may wait for an answer after a run was told to stop: a service that works deletes a thousand
#: objects within some seconds, and people wait for the end of the run.
TIDYING = 5.0
#: As much where a request was under way in vain when the stop came: an abort and a lease's end are answered within one.
SUSPECTED = 1.5


class Patience:
    """One for a run and what tidies up after it. Several threads may use it.

    A request that the stop finds under way is given up at once. Later ones tidy up, and have a little time; once that was
    in vain, the others are not waited for.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._tidying = TIDYING

    def for_call(self) -> Ask:
        """Who is asked in a call that begins now; raises `Interrupted`."""
        return self._while_tidying if self._stop.is_set() else self._while_working

    def _while_working(self, since: float) -> None:  # noqa: ARG002  one slice without a byte is enough
        if self._stop.is_set():
            self._tidying = min(self._tidying, SUSPECTED)
            raise cancelled()

    def _while_tidying(self, since: float) -> None:
        if time.monotonic() - since >= self._tidying:
            self._tidying = 0.0
            raise cancelled()
