"""The clock by which a run notices that it stood still."""

from __future__ import annotations

import time

# `time.monotonic` stands still on Linux and macOS while the machine sleeps; these clocks go on.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def elapsed() -> float:
    """Seconds since some moment; goes on while the process is stopped and, where the system can, while it sleeps."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
