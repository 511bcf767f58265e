"""Threads that a run cannot do without."""

from __future__ import annotations

import threading

from mbk.errors import MbkError


def started(thread: threading.Thread) -> threading.Thread:
    """Starts it; an error of ours where the system gives no further thread."""
    try:
        thread.start()
    except RuntimeError as exc:
        raise no_threads() from exc
    return thread


def no_threads() -> MbkError:
    return MbkError(
        "the system gives this process no further thread",
        code="threads-exhausted",
        hint="raise the limit of its user (ulimit -u) or of its container (pids)",
    )
