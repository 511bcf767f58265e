"""What newer servers than 2.3 add to the fake Milvus. It has no snapshots."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from mbk.errors import MilvusError, Unsupported
from mbk.model.records import CollectionSchema, FieldSchema, KeyValue
from mbk.ports.milvus.values import Feature, FlushAllPoint, SegmentLogs, SnapshotState
from tests.fakes.rows import Collection

PCHANNEL = "by-dev-rootcoord-dml_0"
NO_SNAPSHOTS = "this Milvus has no snapshots"


class Newer:
    """A part of `tests.fakes.milvus.FakeMilvus`."""

    features: frozenset[Feature]
    calls: list[tuple[str, str]]
    gc_tickets: dict[str, int | None]
    encryption_keys: dict[str, str]
    _ids: itertools.count[int]
    _clock: Iterator[int]
    _collections: dict[tuple[str, str], Collection]
    _lock: threading.RLock

    def _called(self, call: str, what: str) -> None:
        raise NotImplementedError

    def _seal(self, collection: Collection) -> None:
        raise NotImplementedError

    def _get(self, database: str, collection: str) -> Collection:
        raise NotImplementedError

    # -- what a test does with it --------------------------------------------------------------------------------

    def schema(self, name: str, *, database: str = "default") -> CollectionSchema:
        return self._get(database, name).schema

    def add_field(self, name: str, field: FieldSchema, *, database: str = "default") -> None:
        self.schema(name, database=database).fields.append(field)

    # -- backing up ----------------------------------------------------------------------------------------------

    def flush_all(self, *, sleep: Callable[[float], None] = time.sleep) -> FlushAllPoint:
        self._called("flush_all", "")
        for collection in list(self._collections.values()):
            self._seal(collection)
        now = next(self._clock)
        return FlushAllPoint({PCHANNEL: b"message"}, {PCHANNEL: now}, f"{PCHANNEL}_vcchan", (PCHANNEL,))

    def segment_logs(
        self, database: str, collection_id: int, segments: Sequence[int]
    ) -> Mapping[int, SegmentLogs]:
        self._called("segment_logs", str(collection_id))
        (found,) = [item for item in self._collections.values() if item.id == collection_id]
        channel = f"{PCHANNEL}_{found.id}v0"
        return {
            segment.id: SegmentLogs(channel, dict(segment.logs), segment.deltas)
            for segment in found.segments
            if segment.id in segments
        }

    def encryption_key(self, database: str) -> str:
        self._called("encryption_key", database)
        return self.encryption_keys[database]

    def replicate_position(self) -> str:
        self._called("replicate_position", "")
        return "CAE="

    def pause_gc(self, seconds: int, *, collection_id: int | None = None) -> str:
        """A ticket a pause where the server pauses by collection; else one pause for all, however often asked for."""
        self._called("pause_gc", str(collection_id or ""))
        with self._lock:
            ticket = f"ticket {next(self._ids)}" if Feature.COLLECTION_GC_PAUSE in self.features else ""
            self.gc_tickets[ticket] = collection_id
        return ticket

    def resume_gc(self, ticket: str = "", *, collection_id: int | None = None) -> None:
        self._called("resume_gc", str(collection_id or ""))
        with self._lock:
            if ticket not in self.gc_tickets:
                raise MilvusError(f"no pause of ticket {ticket!r}")
            del self.gc_tickets[ticket]

    # -- restoring -----------------------------------------------------------------------------------------------

    def alter_collection(
        self,
        database: str,
        collection: str,
        *,
        properties: Sequence[KeyValue] = (),
        delete_keys: Sequence[str] = (),
    ) -> None:
        self._called("alter_collection", collection)
        found = self._get(database, collection)
        kept = {pair.key: pair.value for pair in found.schema.properties if pair.key not in delete_keys}
        kept |= {pair.key: pair.value for pair in properties}
        found.schema.properties = [KeyValue(key=key, value=value) for key, value in kept.items()]

    def alter_field(self, database: str, collection: str, field: str, *, delete_keys: Sequence[str]) -> None:
        self._called("alter_field", field)
        (found,) = [item for item in self._get(database, collection).schema.fields if item.name == field]
        found.type_params = [pair for pair in found.type_params if pair.key not in delete_keys]

    def alter_index(self, database: str, collection: str, index: str, *, delete_keys: Sequence[str]) -> None:
        self._called("alter_index", index)
        for found in self._get(database, collection).indexes:
            if found.index_name == index:
                found.params = {key: value for key, value in found.params.items() if key not in delete_keys}

    # -- snapshots -----------------------------------------------------------------------------------------------

    def create_snapshot(self, database: str, collection: str, snapshot: str, *, description: str = "") -> int:
        raise Unsupported(NO_SNAPSHOTS)

    def find_snapshots(self, database: str, collection: str, *, prefix: str) -> Mapping[str, str]:
        raise Unsupported(NO_SNAPSHOTS)

    def drop_snapshot(self, database: str, collection: str, snapshot: str) -> None:
        raise Unsupported(NO_SNAPSHOTS)

    def export_snapshot(self, database: str, collection: str, snapshot: str, *, uri: str, spec: str) -> str:
        raise Unsupported(NO_SNAPSHOTS)

    def export_state(self, job: str) -> SnapshotState:
        raise Unsupported(NO_SNAPSHOTS)

    def restore_snapshot(self, database: str, collection: str, *, uri: str, spec: str) -> str:
        raise Unsupported(NO_SNAPSHOTS)

    def restore_snapshot_state(self, job: str) -> SnapshotState:
        raise Unsupported(NO_SNAPSHOTS)
