"""How long the server waits for a request that does not come to its end: an open connection costs a file and memory."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from mbk.frozen import frozen


@frozen
class Waits:
    """Seconds, from the first byte to the last one of the ``head`` of a request, and from then on to that of its ``body``."""

    head: float = 10.0
    body: float = 30.0


def protocol(waits: Waits) -> type[asyncio.Protocol]:
    """uvicorn's, which waits for a head for ever."""
    return type("Protocol", (_Protocol,), {"seconds": waits.head})


class _Protocol(H11Protocol):
    seconds: ClassVar[float]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_idle and self._deadline is None:
            self._begin()
        super().data_received(data)
        if not self._is_idle:
            self._end()

    @property
    def _is_idle(self) -> bool:
        """Whether the next thing to come is a head."""
        return self.cycle is None or self.cycle.response_complete

    def _begin(self) -> None:
        self._deadline = self.loop.call_later(self.seconds, self.transport.close)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
