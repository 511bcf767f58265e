"""Wakes the event streams when a job has news; several threads may call it."""

from __future__ import annotations

import asyncio
import contextlib


class EventStream:
    """Bound to the event loop that serves the streams, once it runs. `wake` and `close` may be called from any thread."""

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
        """Waits until something has changed since `mark`, or for this many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), seconds)

    def mark(self) -> asyncio.Event:
        return self._changed

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
