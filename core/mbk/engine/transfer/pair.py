"""Two storages to copy between, and the run that does it, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.ports.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Several threads may use it, as they may use what is in it."""

    source: Storage
    destination: Storage
    run: Run
    limits: TransferLimits = field(default_factory=TransferLimits)
