"""Verifies the objects of snapshots. What is in them is Milvus' own: it is compared with the record, and not parsed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from mbk.engine.formats.snapshot.jobs import export_root
from mbk.engine.formats.verifying import Unit, UnitReader
from mbk.engine.repository.catalog import Committed
from mbk.engine.repository.detailed import DetailedCollection
from mbk.engine.repository.record import Record
from mbk.engine.runtime.run import Run
from mbk.frozen import frozen
from mbk.model.objects import ObjectRecord
from mbk.model.records import SnapshotBackup
from mbk.model.reports import Finding
from mbk.model.states import FindingKind
from mbk.ports.storage import ObjectInfo, Storage

#: Objects that one thread reads in a row.
_TOGETHER = 32


@frozen
class SnapshotVerifying:
    """Has no state. Older servers export all collections into one directory."""

    shared: bool = True

    def prefixes(
        self,
        committed: Committed,
        record: Record | None,  # noqa: ARG002
        collection: DetailedCollection,
    ) -> tuple[str, ...]:
        bundle = collection.snapshot_backup
        return (export_root(committed.stored.layout, bundle.metadata_path),) if bundle else ()

    def listed(
        self, collection: DetailedCollection, present: Mapping[str, ObjectInfo]
    ) -> tuple[dict[str, ObjectRecord], list[Finding]]:
        """The metadata has only numbers of files and bytes, and the path of one file."""
        bundle = collection.snapshot_backup or SnapshotBackup()
        findings = []
        size = sum(entry.size for entry in present.values())
        if bundle.metadata_path and bundle.metadata_path not in present:
            findings.append(
                Finding(FindingKind.MISSING, "it is the snapshot's metadata", bundle.metadata_path)
            )
        if len(present) < bundle.total_files or size < bundle.total_bytes:
            detail = (
                f"its snapshot has {len(present)} files with {size} bytes, and the metadata says {bundle.total_files} with "
                f"{bundle.total_bytes}"
            )
            findings.append(Finding(FindingKind.MISSING, detail))
        return {key: ObjectRecord(key, entry.size) for key, entry in present.items()}, findings

    def units(self, collection: DetailedCollection, keys: Iterable[str]) -> list[Unit]:  # noqa: ARG002
        ordered = iter(sorted(keys))
        units = []
        while together := tuple(islice(ordered, _TOGETHER)):
            units.append(Unit(keys=together))
        return units

    def sample(
        self,
        storage: Storage,  # noqa: ARG002
        run: Run,  # noqa: ARG002
        committed: Committed,  # noqa: ARG002
        record: Record | None,  # noqa: ARG002
        collection: DetailedCollection,  # noqa: ARG002
        count: int,  # noqa: ARG002
    ) -> tuple[str, list[int | str]]:
        return "", []

    def check(self, unit: UnitReader) -> None:
        for key in unit.unit.keys:
            unit.read(key, lambda _content, _proven: None)
