"""How much of the work is done at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from mbk.engine.transfer import TransferLimits
from mbk.ports.storage import GIB


@dataclass(frozen=True, slots=True)
class BackupLimits:
    """``collections`` and ``segments`` bound what is worked on at once; ``gc_seconds`` is one lease of the GC pause."""

    collections: int = 4
    segments: int = 1024
    pause_gc: bool = True
    gc_seconds: int = 3600
    transfer: TransferLimits = field(default_factory=TransferLimits)


@dataclass(frozen=True, slots=True)
class RestoreLimits:
    """``collections`` and ``import_jobs`` bound what is worked on at once; ``max_group_size`` in bytes."""

    collections: int = 2
    import_jobs: int = 768
    max_segments: int = 256
    max_group_size: int = 2 * GIB
    keep_temp: bool = False
    transfer: TransferLimits = field(default_factory=TransferLimits)
