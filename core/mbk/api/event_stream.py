"""Wakes the streams of events when a job has something to tell, from any thread."""

from __future__ import annotations

import asyncio
import contextlib


class EventStream:
    """Bound to the loop that serves the streams, once it runs."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self.closed = False

    def bind(self) -> None:
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Ends every stream."""
        self.closed = True
        self.wake()

    async def wait(self, changed: asyncio.Event, seconds: float) -> None:
        """Until something has changed after `mark`, or so many seconds have passed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), seconds)

    def mark(self) -> asyncio.Event:
        return self._changed

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
