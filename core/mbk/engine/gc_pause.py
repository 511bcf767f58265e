"""Holding off Milvus' garbage collection while segments are being copied (FORMAT.md 2.8).

A pause is a lease: it is renewed while the run lasts and always given back, also on Ctrl-C. When the process is
killed, Milvus ends it by itself. A pause that cannot be had is worth a warning, never an error.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mbk.engine.run import Run
from mbk.errors import MbkError, Unsupported
from mbk.ports.milvus import Milvus


@contextmanager
def gc_paused(milvus: Milvus, run: Run, *, seconds: int) -> Iterator[bool]:
    """Pauses for the time of the block, ``seconds`` a lease. Yields whether the pause is held."""
    ticket = _pause(milvus, run, seconds)
    if ticket is None:
        yield False
        return
    ended = threading.Event()
    held = [ticket]

    def renew() -> None:
        while not ended.wait(seconds / 2):
            again = _pause(milvus, run, seconds)
            if again is not None:
                held.append(again)

    renewer = threading.Thread(target=renew, name="mbk-gc-pause", daemon=True)
    renewer.start()
    try:
        yield True
    finally:
        ended.set()
        renewer.join()
        _resume(milvus, run, held)


def _pause(milvus: Milvus, run: Run, seconds: int) -> str | None:
    try:
        return milvus.pause_gc(seconds)
    except Unsupported as error:
        run.notice(
            "gc-pause-unsupported",
            f"garbage collection is not paused: {error.message}; objects that Milvus drops meanwhile are missed",
        )
    except MbkError as error:
        run.notice("gc-pause-failed", f"garbage collection is not paused: {error}")
    return None


def _resume(milvus: Milvus, run: Run, tickets: list[str]) -> None:
    for ticket in dict.fromkeys(tickets):
        try:
            milvus.resume_gc(ticket)
        except MbkError as error:
            run.notice("gc-resume-failed", f"garbage collection stays paused until its lease ends: {error}")
