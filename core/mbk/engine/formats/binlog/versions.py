"""Storage versions of segments: 0 and 1 are one binlog a field."""

from __future__ import annotations

from collections.abc import Iterable

from mbk.errors import MilvusError, UsageError
from mbk.model.records import SegmentHead
from mbk.ports.milvus.values import SegmentInfo

#: Columns are packed into groups, a file each.
PACKED = 2
#: From this version on a segment is a manifest with files of its own, which no import reads.
MANIFEST = 3


def refuse_manifests(segments: Iterable[SegmentInfo], what: str) -> None:
    """`MilvusError` for segments of a server that binlogs cannot hold."""
    if any(segment.storage_version >= MANIFEST for segment in segments):
        raise MilvusError(
            "{what} is of storage version 3, which the binlog format cannot hold",
            code="storage-version-3-binlog",
            what=what,
            hint="back up with --format snapshot",
        )


def require_rows(segments: Iterable[SegmentHead], label: str) -> None:
    """`UsageError` for segments of a backup whose rows only Milvus reads."""
    for segment in segments:
        if segment.storage_version >= MANIFEST:
            raise UsageError(
                "segment {segment_id} of {label} has storage version {storage_version}, whose rows mbk does not read",
                code="segment-storage-version-whose",
                segment_id=segment.segment_id,
                label=label,
                storage_version=segment.storage_version,
                hint="restore the backup as it is",
            )
