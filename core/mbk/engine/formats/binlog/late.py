"""The converter of a restore. What reads binlogs, and with it pyarrow, is loaded when it is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mbk.engine.formats.binlog.conversion import ConversionJob
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import TransferLimits
from mbk.ports.storage import Storage

if TYPE_CHECKING:
    from mbk.engine.formats.binlog.converter import SegmentConverter


@dataclass(slots=True)
class LateConverter:
    """Implements :class:`mbk.engine.formats.binlog.conversion.Converter`: from the backup's storage to Milvus' own."""

    backup: Storage
    storage: Storage
    run: Run
    limits: TransferLimits
    _loaded: SegmentConverter | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def require(self) -> None:
        self._load()

    def convert(self, job: ConversionJob) -> Iterable[str]:
        return self._load().convert(job)

    def _load(self) -> SegmentConverter:
        with self._lock:
            if self._loaded is None:
                from mbk.engine.formats.binlog.converter import SegmentConverter

                self._loaded = SegmentConverter(self.backup, self.storage, self.run, self.limits)
            return self._loaded
