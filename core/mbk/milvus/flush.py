"""Flush and wait. The boundary is the server's: everything acknowledged before the call is persistent afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from mbk.errors import MilvusError, Unreachable
from mbk.milvus.channel import Channel
from mbk.milvus.proto import milvus, msg
from mbk.milvus.server import name_of
from mbk.ports.milvus import FlushPoint

FIRST_WAIT = 0.05
LONGEST_WAIT = 1.0
#: A poll that fails for longer than this is not a passing error any more.
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 30.0
FLUSH_SECONDS = 600.0

Channels = Callable[[str, str], Sequence[str]]


def flush_and_wait(
    channel: Channel,
    database: str,
    collection: str,
    *,
    channels: Channels,
    timeout: float | None,
    sleep: Callable[[float], None],
) -> FlushPoint:
    """``channels`` gives the virtual channels of a collection; asked only where the server sends no checkpoints."""
    deadline = None if timeout is None else time.monotonic() + timeout
    what = f"flush {name_of(database, collection)}"
    request = milvus.FlushRequest(collection_names=[collection])
    flushed = channel.call("Flush", request, what, database=database, timeout=timeout or FLUSH_SECONDS)
    state = milvus.GetFlushStateRequest(
        segmentIDs=flushed.coll_segIDs[collection].data,
        flush_ts=flushed.coll_flush_ts.get(collection, 0),
        collection_name=collection,
    )

    def finished() -> bool:
        answer = channel.call("GetFlushState", state, what, database=database, timeout=POLL_SECONDS)
        return bool(answer.flushed)

    _wait(finished, what, deadline, sleep)
    positions = dict(flushed.channel_cps) or _positions(
        state.flush_ts, lambda: channels(database, collection)
    )
    return FlushPoint(
        seal_seconds=flushed.coll_seal_times.get(collection, 0),
        checkpoints={name: position.SerializeToString() for name, position in positions.items()},
        timestamps={name: position.timestamp for name, position in positions.items()},
    )


def _positions(flush_ts: int, channels: Callable[[], Sequence[str]]) -> dict[str, Any]:
    """2.3 sends no checkpoints but its flush timestamp, which bounds every channel; 2.2 sends neither."""
    if not flush_ts:
        return {}
    return {name: msg.MsgPosition(channel_name=name, timestamp=flush_ts) for name in channels()}


def _wait(
    flushed: Callable[[], bool], what: str, deadline: float | None, sleep: Callable[[float], None]
) -> None:
    wait, trouble_since = FIRST_WAIT, None
    while True:
        try:
            if flushed():
                return
            trouble_since = None
        except (Unreachable, MilvusError):
            now = time.monotonic()
            trouble_since = trouble_since or now
            if now - trouble_since > PATIENCE_SECONDS:
                raise
        if deadline is not None and time.monotonic() + wait > deadline:
            raise MilvusError(f"{what}: not finished in time", hint="Milvus may be overloaded; try again")
        sleep(wait)
        wait = min(wait * 1.5, LONGEST_WAIT)
