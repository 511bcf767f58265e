"""Parses the objects of a backup of which no digest is recorded, so that no torn file reaches Milvus."""

from __future__ import annotations

from collections.abc import Mapping

from mbk.binlog.blob import Blob
from mbk.engine.formats.binlog import logs
from mbk.engine.formats.binlog.known import Spot
from mbk.engine.formats.binlog.versions import MANIFEST, PACKED
from mbk.engine.formats.comparing import damaged
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.reading import ranges_of
from mbk.errors import InvalidBackup, UsageError
from mbk.frozen import frozen
from mbk.model.layout import DELTA_LOG
from mbk.ports.storage import ObjectInfo, Storage


@frozen(kw_only=True)
class Parser:
    """Several threads may call it. ``versions``: segment -> its storage version."""

    storage: Storage
    run: Run
    versions: Mapping[int, int]

    def require(self, entry: ObjectInfo, spot: Spot) -> None:
        """Reads every value. `DamagedBackup` if the object is not what its key says; what only Milvus can read passes."""
        try:
            facts = self._facts(
                Blob(entry.key, entry.size, ranges_of(self.storage, entry.key, self.run)), spot
            )
        except InvalidBackup as error:
            raise damaged(entry.key, error.message) from error
        except UsageError:
            return
        if facts.problem:
            raise damaged(entry.key, facts.problem)

    def _facts(self, blob: Blob, spot: Spot) -> logs.Facts:
        version = self.versions.get(spot.segment, 0)
        kind, *numbers = spot.name.split("/")
        if version >= MANIFEST:
            return logs.Facts()
        if kind == DELTA_LOG:
            return logs.of_delete_log(blob)
        if version >= PACKED:
            return logs.of_group(blob, decode=True)
        return logs.of_insert_log(blob, int(numbers[1]), decode=True)
