"""How much of the work is done at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from mbk.config.schema import Settings
from mbk.engine.runtime.budget import Budget
from mbk.engine.transfer.transfer import TransferLimits
from mbk.ports.storage import GIB, MIB

#: The commands that are told how many collections to restore at once, rather than how many to back up.
RESTORES = frozenset({"restore", "restore secondary"})


@dataclass(frozen=True, slots=True)
class JobTimes:
    """How patient a run is with snapshots that Milvus exports or restores; times in seconds.

    After ``notice`` without progress the user is told, after ``patience`` the job is given up.

    ``settle``: so long a given-up job is waited for; ``drop``: so long Milvus may refuse to drop what it still reads.
    """

    poll: float = 3.0
    notice: float = 600.0
    patience: float = 7200.0
    settle: float = 60.0
    drop: float = 10.0


@dataclass(frozen=True, slots=True)
class BackupLimits:
    """``gc_seconds`` is one lease of the GC pause."""

    pause_gc: bool = True
    gc_seconds: int = 3600
    snapshots: JobTimes = field(default_factory=JobTimes)
    transfer: TransferLimits = field(default_factory=TransferLimits)


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """How patient a restore is with import jobs; times in seconds.

    After ``notice`` without any progress the user is told, after ``patience`` a job is given up: Milvus may be busy for
    long with the index of one big segment. ``settle``: so long given-up jobs are waited for. ``attempts``: how often
    the same segment is tried. ``restarts``: how often a collection is begun anew because of jobs that were given up.
    ``look``: the pause before a job whose answer was lost is looked for again.
    """

    notice: float = 600.0
    patience: float = 7200.0
    settle: float = 60.0
    attempts: int = 2
    restarts: int = 2
    look: float = 2.0


@dataclass(frozen=True, slots=True)
class RestoreLimits:
    """``import_jobs`` are under way at once; ``max_group_size`` in bytes."""

    import_jobs: int = 768
    max_segments: int = 256
    max_group_size: int = 2 * GIB
    keep_temp: bool = False
    imports: ImportLimits = field(default_factory=ImportLimits)
    snapshots: JobTimes = field(default_factory=JobTimes)
    transfer: TransferLimits = field(default_factory=TransferLimits)


def budget(settings: Settings, command: str) -> Budget:
    """What a run of the command may use at once. What the configuration sets is given as it is."""
    restores = command in RESTORES
    return Budget(
        copies=settings.transfer.concurrency,
        parts=settings.transfer.concurrency,
        collections=settings.restore.collections if restores else settings.backup.collections,
        segments=settings.backup.segments,
    )


def transfer_limits(settings: Settings) -> TransferLimits:
    found = settings.transfer
    return TransferLimits(mode=found.mode, part_threshold=found.multipart_copy_threshold_mib * MIB)


def backup_limits(settings: Settings) -> BackupLimits:
    found = settings.backup
    return BackupLimits(
        pause_gc=found.pause_gc,
        gc_seconds=found.gc_pause_seconds,
        transfer=transfer_limits(settings),
    )


def restore_limits(settings: Settings) -> RestoreLimits:
    found = settings.restore
    return RestoreLimits(
        import_jobs=found.import_jobs,
        max_segments=found.max_segments_per_import_job,
        max_group_size=found.max_group_size,
        keep_temp=found.keep_temp_files,
        transfer=transfer_limits(settings),
    )
