"""Flush and wait: the server sets the point, and everything acknowledged before the call is persistent afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mbk.errors import MilvusError, Unreachable, Unsupported
from mbk.milvus.descriptions import describe
from mbk.milvus.proto import milvus, msg
from mbk.milvus.server import Server, name_of
from mbk.ports.milvus.values import Feature, FlushAllPoint, FlushPoint

#: Seconds between polls: a small flush is done at once, for a large one a poll a second is enough.
FIRST_WAIT = 0.05
LONGEST_WAIT = 1.0
#: Seconds after which a failing poll is no longer a transient error: a flush sent anew would find the same server.
PATIENCE_SECONDS = 30.0
#: Seconds for one poll, which the server answers from memory.
POLL_SECONDS = 30.0
#: Seconds for the call that seals the segments: on a server under heavy writes it takes minutes.
FLUSH_SECONDS = 600.0
#: The property of a write-ahead log message with its time tick, in base 36.
TIME_TICK = "_tt"
#: Only a server that takes part in a replication answers (milvus: pkg/util/merr/errors.go, `ErrDenyReplicateMessage`).
_NO_REPLICATION = 1900


class Points:
    """Implements :class:`mbk.ports.milvus.roles.Points`."""

    def __init__(self, server: Server, *, patience: float = PATIENCE_SECONDS) -> None:
        self._server = server
        self._patience = patience

    def now(self) -> int:
        try:
            answer = self._server.call("AllocTimestamp", milvus.AllocTimestampRequest(), "read the clock")
        except Unsupported:
            return 0
        return int(answer.timestamp)

    def flush(
        self,
        database: str,
        collection: str,
        *,
        timeout: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> FlushPoint:
        deadline = None if timeout is None else time.monotonic() + timeout
        what = f"flush {name_of(database, collection)}"
        request = milvus.FlushRequest(collection_names=[collection])
        flushed = self._server.call(
            "Flush", request, what, database=database, timeout=timeout or FLUSH_SECONDS
        )
        state = milvus.GetFlushStateRequest(
            segmentIDs=flushed.coll_segIDs[collection].data,
            flush_ts=flushed.coll_flush_ts.get(collection, 0),
            collection_name=collection,
        )

        def finished() -> bool:
            answer = self._server.call("GetFlushState", state, what, database=database, timeout=POLL_SECONDS)
            return bool(answer.flushed)

        _wait(finished, what, deadline, sleep, self._patience)
        positions = dict(flushed.channel_cps) or self._positions(database, collection, state.flush_ts)
        return FlushPoint(
            seal_seconds=flushed.coll_seal_times.get(collection, 0),
            checkpoints={name: position.SerializeToString() for name, position in positions.items()},
            timestamps={name: position.timestamp for name, position in positions.items()},
            timestamp=state.flush_ts,
            sealed=frozenset(flushed.coll_segIDs[collection].data),
            persistent=frozenset(flushed.flush_coll_segIDs[collection].data),
        )

    def _positions(self, database: str, collection: str, flush_ts: int) -> dict[str, Any]:
        """2.3 sends no checkpoints but a flush timestamp, which applies to every channel; 2.2 sends neither."""
        if not flush_ts:
            return {}
        channels = describe(self._server, database, collection).virtual_channel_names
        return {name: msg.MsgPosition(channel_name=name, timestamp=flush_ts) for name in channels}

    def flush_all(self, *, sleep: Callable[[float], None] = time.sleep) -> FlushAllPoint:
        with self._server.using(Feature.FLUSH_ALL, "flush all collections"):
            return self._flush_all(sleep)

    def _flush_all(self, sleep: Callable[[float], None]) -> FlushAllPoint:
        """One consistency point for all collections, given by the flush messages, one a physical channel.

        Servers before 2.6.11 send none: they can flush everything but not report when it is done.
        """
        what = "flush all collections"
        flushed = self._server.call("FlushAll", milvus.FlushAllRequest(), what, timeout=FLUSH_SECONDS)
        if not flushed.flush_all_msgs:
            raise Unsupported(
                "{operation}: the server did not return the consistency point",
                code="flush-point-missing",
                operation=what,
            )
        ticks = {name: _time_tick(message, what) for name, message in flushed.flush_all_msgs.items()}
        state = milvus.GetFlushAllStateRequest(flush_all_tss=ticks)

        def finished() -> bool:
            return bool(self._server.call("GetFlushAllState", state, what, timeout=POLL_SECONDS).flushed)

        _wait(finished, what, None, sleep, self._patience)
        return FlushAllPoint(
            messages={
                name: message.SerializeToString(deterministic=True)
                for name, message in flushed.flush_all_msgs.items()
            },
            timestamps=ticks,
            control_channel=flushed.cluster_info.cchannel,
            physical_channels=tuple(flushed.cluster_info.pchannels),
        )

    def replicate_position(self) -> str:
        what = f"get the position of the replication channel {self._server.settings.rpc_channel_name}"
        with self._server.using(Feature.REPLICATE_POSITION, what):
            request = milvus.ReplicateMessageRequest(channel_name=self._server.settings.rpc_channel_name)
            try:
                return str(self._server.call("ReplicateMessage", request, what).position)
            except MilvusError as error:
                if error.server_code == _NO_REPLICATION:
                    return ""
                raise


def _time_tick(message: Any, what: str) -> int:
    text = message.properties.get(TIME_TICK, "")
    try:
        return int(text, 36)
    except ValueError:
        raise MilvusError(
            "{operation}: the server returned a message without a time tick ({value!r})",
            code="time-tick-missing",
            operation=what,
            value=text,
        ) from None


def _wait(
    flushed: Callable[[], bool],
    what: str,
    deadline: float | None,
    sleep: Callable[[float], None],
    patience: float,
) -> None:
    wait, trouble_since = FIRST_WAIT, None
    while True:
        try:
            if flushed():
                return
            trouble_since = None
        except (Unreachable, MilvusError) as error:
            now = time.monotonic()
            trouble_since = trouble_since or now
            if now - trouble_since > patience:
                raise error.final() from error.__cause__
        if deadline is not None and time.monotonic() + wait > deadline:
            raise MilvusError(
                "{operation}: timed out",
                code="flush-timeout",
                operation=what,
                hint="Milvus may be overloaded; try again",
            )
        sleep(wait)
        wait = min(wait * 1.5, LONGEST_WAIT)
