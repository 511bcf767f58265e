"""Threads that a run cannot do without."""

from __future__ import annotations

import threading

from mbk.errors import no_threads


def started(thread: threading.Thread) -> threading.Thread:
    """Starts it; an error of ours where the system gives no further thread."""
    try:
        thread.start()
    except RuntimeError as exc:
        raise no_threads() from exc
    return thread
