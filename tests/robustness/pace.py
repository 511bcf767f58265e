"""For servers that have little to do, and for what dead processes left, which should be seen soon."""

from __future__ import annotations

from dataclasses import replace

from mbk.engine.runtime.pace import ImportPace, LeasePace, Pace
from mbk.engine.runtime.retry import RetryPolicy

PACE = Pace(
    listing=0.02,
    index=0.02,
    load=0.02,
    drain=0.0,
    retry=RetryPolicy(first=0.01, ceiling=0.05),
    lease=LeasePace(beat=0.2, expiry=1.0, settle=0.02, handover=0.3, poll=0.05),
    imports=ImportPace(first=0.02, last=0.1, look=0.05),
)
#: Where nobody is overtaken: a process that a busy machine lets wait for a second has lost nothing. A lease of a dead
#: process is taken over at once all the same.
CALM = replace(PACE, lease=replace(PACE.lease, beat=2.0, expiry=30.0, handover=5.0))
