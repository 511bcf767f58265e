"""What the configuration says about a run apart from its budget: how objects are copied and import jobs are cut."""

from __future__ import annotations

from dataclasses import field, replace

from mbk.engine.runtime.executor import Executor
from mbk.frozen import frozen
from mbk.ports.storage import GIB, MIB


@frozen(kw_only=True)
class TransferLimits:
    """``mode`` is ``auto``, ``direct`` or ``streaming``; objects from ``part_threshold`` bytes on are copied in parts.
    ``executor``: the workers that copy; None: the threads of this process."""

    mode: str = "auto"
    part_threshold: int = 500 * MIB
    executor: Executor | None = None

    @property
    def here(self) -> TransferLimits:
        """The same, for copies by this process alone."""
        return replace(self, executor=None)

    def require_workers(self) -> None:
        """Raises what can be known to keep the executor from its work, if there is one."""
        if self.executor is not None:
            self.executor.require()


@frozen(kw_only=True)
class BackupLimits:
    """``gc_seconds``: how long one pause of garbage collection lasts unless renewed. ``incremental``: objects lie in the pool."""

    incremental: bool = False
    pause_gc: bool = True
    gc_seconds: int = 3600


@frozen(kw_only=True)
class RestoreLimits:
    """``import_jobs``: jobs running at once; ``max_segments`` and ``max_group_size`` (bytes): upper bounds of one job.
    ``keep_temp``: keep staged copies after the restore."""

    import_jobs: int = 768
    max_segments: int = 256
    max_group_size: int = 2 * GIB
    keep_temp: bool = False


@frozen(kw_only=True)
class Limits:
    transfer: TransferLimits = field(default_factory=TransferLimits)
    backup: BackupLimits = field(default_factory=BackupLimits)
    restore: RestoreLimits = field(default_factory=RestoreLimits)
