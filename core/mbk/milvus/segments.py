"""The persistent segments of a collection, and their exact files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mbk.errors import MilvusError
from mbk.milvus.proto import common, milvus
from mbk.milvus.server import Server, name_of
from mbk.ports.milvus.values import Feature, SegmentInfo, SegmentLogs

_PERSISTENT = frozenset({common.Flushed, common.Flushing})
#: The list named a segment that a compaction was just replacing. Servers do not mark that as retryable: code 600 is not
#: in milvus: pkg/util/merr/errors.go; the second text is from 2.2 (internal/datacoord/errors.go, `msgSegmentNotFound`).
_SEGMENT_REPLACED = re.compile(r"segment not found|failed to get segment \d+", re.I)


class Segments:
    """Implements :class:`mbk.ports.milvus.roles.Segments`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def persistent(self, database: str, collection: str) -> list[SegmentInfo]:
        request = milvus.GetPersistentSegmentInfoRequest(collectionName=collection)
        what = f"list the segments of {name_of(database, collection)}"
        try:
            listed = self._server.call("GetPersistentSegmentInfo", request, what, database=database)
        except MilvusError as error:
            if error.retryable or not _SEGMENT_REPLACED.search(error.message):
                raise
            raise MilvusError(
                error.message, code=error.code, server_code=error.server_code, retryable=True
            ) from error
        return [
            SegmentInfo(
                id=info.segmentID,
                partition_id=info.partitionID,
                rows=info.num_rows,
                is_l0=info.level == common.L0,
                storage_version=info.storage_version,
                v_channel=getattr(info, "insert_channel", ""),
            )
            for info in listed.infos
            if info.state in _PERSISTENT
        ]

    def logs(self, database: str, collection_id: int, segments: Sequence[int]) -> Mapping[int, SegmentLogs]:
        with self._server.using(
            Feature.SEGMENT_DETAIL, f"describe the segments of collection {collection_id}"
        ):
            return self._server.rest.segment_logs(database, collection_id, segments)
