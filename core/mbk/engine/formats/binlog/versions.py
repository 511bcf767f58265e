"""Storage versions of segments: 0 and 1 have one binlog a field."""

from __future__ import annotations

from collections.abc import Iterable

from mbk.errors import MilvusError, UsageError
from mbk.model.records import SegmentHead
from mbk.ports.milvus.values import SegmentInfo

#: Columns are packed into groups, one file each.
PACKED = 2
#: From this version on a segment is a manifest with its own files, which imports do not read.
MANIFEST = 3


def refuse_manifests(segments: Iterable[SegmentInfo], what: str) -> None:
    """`MilvusError` for segments of a server that the binlog format does not support."""
    if any(segment.storage_version >= MANIFEST for segment in segments):
        raise MilvusError(
            "{segment} has storage version 3, which the binlog format does not support",
            code="segment-version-unsupported",
            segment=what,
            hint="back up with --format snapshot",
        )


def require_rows(segments: Iterable[SegmentHead], label: str) -> None:
    """`UsageError` for segments of a backup whose rows only Milvus can read."""
    for segment in segments:
        if segment.storage_version >= MANIFEST:
            raise UsageError(
                "mbk cannot read segment {segment} of {collection}: storage version {version}",
                code="segment-unreadable",
                segment=segment.segment_id,
                collection=label,
                version=segment.storage_version,
                hint="restore the backup as it is",
            )
