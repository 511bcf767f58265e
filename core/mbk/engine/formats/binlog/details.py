"""The exact files of segments, if the server lists them over REST.

See docs/reference/milvus-protocol.md#segments-and-their-files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mbk.engine.runtime.run import Run
from mbk.errors import CollectionNotFound, Interrupted, MbkError
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, SegmentInfo

#: Segments a request: for a wide collection each answer holds some thousand numbers.
BATCH = 64


@dataclass(slots=True)
class SegmentDetails:
    """Asks the server for the files of segments until a request fails; from then on the storage is listed instead.

    Several threads may call it: at worst each sees the same failure once.
    """

    milvus: Milvus
    run: Run
    _failed: bool = False

    def complete(self, info: CollectionInfo, segments: Sequence[SegmentInfo]) -> list[SegmentInfo]:
        """The segments with their files; unchanged if the server does not list them.

        A segment missing from the answer was replaced meanwhile. Its files stay until garbage collection, so its
        storage is listed as for an older server.
        """
        return [segment for batch in _batches(segments) for segment in self._batch(info, batch)]

    def _batch(self, info: CollectionInfo, segments: Sequence[SegmentInfo]) -> Sequence[SegmentInfo]:
        if self._failed or Feature.SEGMENT_DETAIL not in self.milvus.features:
            return segments
        try:
            answer = self.run.retry.call(
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
                "cannot list the files of segments over REST, listing the storage instead: {reason}",
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
            if (logs := answer.get(item.id)) is not None
            else item
            for item in segments
        ]


def _batches(segments: Sequence[SegmentInfo]) -> Iterator[Sequence[SegmentInfo]]:
    for start in range(0, len(segments), BATCH):
        yield segments[start : start + BATCH]
