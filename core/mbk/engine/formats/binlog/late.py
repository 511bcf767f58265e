"""The converter of a restore. The code that reads binlogs, and with it pyarrow, is imported when it is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from mbk.engine.formats.binlog.conversion import ConversionJob
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import MissingDependency
from mbk.ports.storage import Storage

if TYPE_CHECKING:
    from mbk.engine.formats.binlog.converter import SegmentConverter


def require_converter(*, cut: bool = False) -> None:
    """`MissingDependency` if a conversion needs something that is not installed. Call it before the first change.

    ``cut``: it is needed only to leave out deletes that are newer than the consistency point.
    """
    try:
        import_module("mbk.engine.formats.binlog.converter")
    except MissingDependency as error:
        if not cut:
            raise
        from mbk.extras import to_install

        raise MissingDependency(
            "leaving out deletes that are newer than the backup requires pyarrow on this Milvus",
            code="cut-needs-pyarrow",
            requirement=to_install("parquet"),
            hint="pip install {requirement}, or restore them as well with --no-cut",
        ) from error


@dataclass(slots=True, kw_only=True)
class LateConverter:
    """Implements :class:`mbk.engine.formats.binlog.conversion.Converter`, from the backup's storage to Milvus' storage.

    ``transfer`` is the run's, between these two: it copies what needs no conversion, and counts what is written. Several
    threads may call it.
    """

    backup: Storage
    storage: Storage
    run: Run
    transfer: Transfer
    _loaded: SegmentConverter | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def convert(self, job: ConversionJob) -> Iterable[str]:
        return self._load().convert(job)

    def _load(self) -> SegmentConverter:
        with self._lock:
            if self._loaded is None:
                from mbk.engine.formats.binlog.converter import SegmentConverter

                self._loaded = SegmentConverter(
                    backup=self.backup, storage=self.storage, run=self.run, transfer=self.transfer
                )
            return self._loaded
