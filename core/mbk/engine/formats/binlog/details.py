"""The exact files of segments, where the server tells them over REST.

See docs/reference/milvus-protocol.md#segments-and-their-files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mbk.engine.runtime.run import Run
from mbk.errors import CollectionNotFound, Interrupted, MbkError
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, SegmentInfo

#: Segments a request: of a wide collection each answer holds some thousand numbers.
BATCH = 64


@dataclass(slots=True)
class SegmentDetails:
    """Asks for the files of segments until the server fails to answer; from then on they are listed instead.

    Threads may share it: at worst each of them meets the same failure once.
    """

    milvus: Milvus
    run: Run
    _failed: bool = False

    def complete(self, info: CollectionInfo, segments: Sequence[SegmentInfo]) -> list[SegmentInfo]:
        """The segments with their files; as they were where the server cannot tell.

        One that is missing in the answer was replaced meanwhile. Its files stay until they are collected as garbage,
        so it is listed like the segments of an older server.
        """
        return [segment for batch in _batches(segments) for segment in self._batch(info, batch)]

    def _batch(self, info: CollectionInfo, segments: Sequence[SegmentInfo]) -> Sequence[SegmentInfo]:
        if self._failed or Feature.SEGMENT_DETAIL not in self.milvus.features:
            return segments
        try:
            known = self.run.retry.call(
                f"list the files of {info.database}.{info.name}",
                self.milvus.segments.logs,
                info.database,
                info.id,
                [item.id for item in segments],
            )
        except (CollectionNotFound, Interrupted):
            raise
        except MbkError as error:
            self._failed = True
            self.run.notice(
                "segment-detail-failed",
                "Milvus does not tell the files of segments, so its storage is listed instead: {reason}",
                reason=error,
            )
            return segments
        return [
            replace(
                item,
                v_channel=logs.v_channel or item.v_channel,
                insert_logs=logs.insert_logs,
                delta_logs=logs.delta_logs,
            )
            if (logs := known.get(item.id)) is not None
            else item
            for item in segments
        ]


def _batches(segments: Sequence[SegmentInfo]) -> Iterator[Sequence[SegmentInfo]]:
    for start in range(0, len(segments), BATCH):
        yield segments[start : start + BATCH]
