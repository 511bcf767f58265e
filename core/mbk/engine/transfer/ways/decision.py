"""Which way the objects of a pair of storages go, decided by the first of them.

It is found by trying, never by comparing names. If the service refuses, the pair streams from then on, and the report
gives the reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mbk.engine.transfer.items import SERVER, STREAM, CopyItem, Known
from mbk.engine.transfer.pair import Pair
from mbk.errors import AccessError, MbkError, NotFound, StorageError, StorageUnavailable, Unsupported

Way = Callable[[CopyItem], Known]

_REFUSALS = (StorageError, AccessError, NotFound)


class Decision:
    """``way``: the one that was decided, None until then. ``reason``: why objects are streamed; None if they are not. ``hint``:
    what would make the storage copy them, if anything would.

    Several threads may call it."""

    def __init__(self, pair: Pair, *, by_server: Way, by_stream: Way) -> None:
        self._pair = pair
        self._by_server = by_server
        self._by_stream = by_stream
        self._deciding = threading.Lock()
        self.way: str | None = None
        self.reason: str | None = None
        self.hint: str | None = None
        self._decide_without_trying()

    def copy(self, item: CopyItem) -> Known:
        """Copies the object the decided way, or decides it with this object."""
        if self.way is None:
            with self._deciding:
                if self.way is None:
                    return self._try(item)
        return self._served(item) if self.way == SERVER else self._by_stream(item)

    def decide(self, way: str) -> None:
        """It was decided elsewhere."""
        self.way = way

    def _decide_without_trying(self) -> None:
        source, destination = self._pair.source, self._pair.destination
        if self._pair.limits.mode == "direct":
            self.way = SERVER
        elif self._pair.limits.mode == "streaming":
            self._stream_from_now_on(
                "the configuration asks for it",
                "transfer.mode auto lets the storage copy where it can",
            )
        elif not destination.can_copy_from(source):
            self._stream_from_now_on(
                f"{destination.location.backend} cannot copy from {source.location.backend} by itself"
                if source.location.backend != destination.location.backend
                else "source and destination are different services",
                "within one service the storage copies by itself",
            )

    def _stream_from_now_on(self, reason: str, hint: str | None = None) -> None:
        self.way, self.reason, self.hint = STREAM, reason, hint

    def _try(self, item: CopyItem) -> Known:
        run = self._pair.run
        try:
            known = self._by_server(item)
        except (*_REFUSALS, StorageUnavailable) as refusal:
            self._require_streamable(item, refusal)
            self._stream_from_now_on(self._short(refusal), self._advice(refusal))
            run.notice(
                "streaming", "streaming objects through this process: {reason}", reason=refusal.message
            )
            return self._by_stream(item)
        if known.how == SERVER:
            self.way = SERVER
        return known

    def _served(self, item: CopyItem) -> Known:
        """Where others were copied by the service, one that it refuses (for its size, its place) is streamed alone."""
        try:
            return self._by_server(item)
        except _REFUSALS as refusal:
            if self._pair.limits.mode == "direct":
                raise
            self._require_streamable(item, refusal)
            self._pair.run.notice(
                "streaming-some",
                "streaming some objects through this process: {reason}",
                reason=self._short(refusal),
            )
            return self._by_stream(item)

    def _require_streamable(self, item: CopyItem, refusal: MbkError) -> None:
        """Raises where it is not the copying that was refused.

        A service may answer "not found" for a bucket of another account, and 500 for what it cannot do: only the source
        itself knows.
        """
        if isinstance(refusal, StorageError) and type(refusal) not in (StorageError, Unsupported):
            raise refusal
        self._pair.run.retry.call(f"stat {item.source_key}", self._pair.source.stat, item.source_key)

    def _short(self, refusal: MbkError) -> str:
        """What a report says of it: the notice tells the service's own words, with the keys of one object."""
        source, destination = self._pair.source.location, self._pair.destination.location
        match refusal:
            case AccessError():
                return f"the credentials of {destination} may not copy from {source}"
            case NotFound():
                return f"{destination} does not find what is in {source}"
            case StorageUnavailable():
                return f"{destination} fails to copy from {source}"
            case _:
                return f"{destination} cannot copy from {source}"

    def _advice(self, refusal: MbkError) -> str | None:
        """Copies are asked of the destination, with its credentials."""
        if not isinstance(refusal, (AccessError, NotFound)):
            return None
        source, destination = self._pair.source.location, self._pair.destination.location
        return f"let the credentials of {destination} read {source}"
