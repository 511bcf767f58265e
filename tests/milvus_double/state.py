"""What a Milvus knows: databases, collections, segments, jobs. One lock over all of it; no gRPC in here.

Values of a row, by field id, are plain Python as the codec takes them; None is null in every type:

===================  ===================================================================================
bool, integers       ``bool``, ``int`` (Timestamptz: microseconds since 1970)
Float, Double        ``float``
VarChar, Text        ``str``
JSON, ``$meta``      ``bytes``, the JSON text
Geometry             ``bytes``, well-known binary
Array                ``list`` of the above
vectors              ``bytes``: float32, 2-byte or 1-byte numbers little-endian, bits; sparse: (u32 index, f32 value) pairs
ArrayOfVector        ``list`` of ``bytes``, one a vector
===================  ===================================================================================

A struct array has no value of its own: each of its sub-fields is a column of arrays with an id of its own.
Fields 0 (row id) and 1 (timestamp) are `Row.row_id` and `Row.timestamp`, and the primary key stands in ``values`` too.
"""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import schema_pb2

from mbk.ports.storage import Storage
from tests.milvus_double.clock import Clock
from tests.milvus_double.records import ImportJob as ImportJob
from tests.milvus_double.records import Rbac as Rbac
from tests.milvus_double.records import Snapshot as Snapshot
from tests.milvus_double.records import User as User
from tests.milvus_double.refusal import (
    Refused,
    invalid,
    no_collection,
    no_database,
    no_partition,
    rate_limited,
)
from tests.milvus_double.versions import ServerVersion

DEFAULT = "default"
DEFAULT_PARTITION = "_default"
ALL_PARTITIONS = -1
LEGACY, L0, L1, L2 = 0, 1, 2, 3
GROWING, SEALED, FLUSHED, FLUSHING = common.Growing, common.Sealed, common.Flushed, common.Flushing
DROPPED, IMPORTING = common.Dropped, common.Importing
#: Milvus' own defaults: 0.1 flushes of a collection a second (configs/milvus.yaml), sorting within seconds (run: 2.5.27).
FLUSH_RATE, SORT_SECONDS = 0.1, 2.0

Key = int | str
Value = Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row as inserted. ``timestamp`` is hybrid."""

    pk: Key
    row_id: int
    timestamp: int
    values: Mapping[int, Value]
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes the rows of ``pk`` that are older than ``timestamp``."""

    pk: Key
    timestamp: int


@dataclass(frozen=True, slots=True)
class BufferedDelete:
    """A delete that is not persistent yet; ``partition_id`` may be -1."""

    delete: Delete
    partition_id: int
    channel: str


@dataclass(frozen=True, slots=True)
class LogFile:
    """One object of a segment. ``key`` is that in the object store, with the root path."""

    log_id: int
    key: str
    size: int
    entries: int = 0
    first_timestamp: int = 0
    last_timestamp: int = 0


@dataclass(slots=True)
class Segment:
    """``insert_logs``: field id, or column group when packed, -> files. ``deletes``: what its deltalogs hold."""

    id: int
    collection_id: int
    partition_id: int
    channel: str
    state: int = GROWING
    level: int = L1
    storage_version: int = 1
    is_sorted: bool = False
    rows: list[Row] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    insert_logs: dict[int, list[LogFile]] = field(default_factory=dict)
    delta_logs: list[LogFile] = field(default_factory=list)
    stats_logs: dict[int, list[LogFile]] = field(default_factory=dict)
    other_keys: list[str] = field(default_factory=list)
    compaction_from: list[int] = field(default_factory=list)
    dropped_at: float = 0.0

    @property
    def is_l0(self) -> bool:
        return self.level == L0

    @property
    def persistent(self) -> bool:
        """What GetPersistentSegmentInfo shows."""
        return self.state in (FLUSHED, FLUSHING)

    @property
    def readable(self) -> bool:
        """Whether queries see it."""
        return self.state not in (DROPPED, IMPORTING)

    @property
    def row_count(self) -> int:
        """As the server shows it: an L0 segment has no rows (run: 2.5.27, 2.6.19)."""
        return len(self.rows)

    @property
    def keys(self) -> list[str]:
        """All of its objects."""
        files = [*self.delta_logs, *_flat(self.insert_logs), *_flat(self.stats_logs)]
        return [file.key for file in files] + self.other_keys


def _flat(logs: Mapping[int, Sequence[LogFile]]) -> Iterator[LogFile]:
    for files in logs.values():
        yield from files


@dataclass(slots=True)
class Partition:
    id: int
    name: str
    created: int = 0
    loaded: bool = False


@dataclass(slots=True)
class Index:
    """``params`` as DescribeIndex shows them; ``type_params`` are those of the field."""

    id: int
    name: str
    field_id: int
    field_name: str
    params: dict[str, str]
    type_params: dict[str, str] = field(default_factory=dict)
    created: int = 0
    auto: bool = False


@dataclass(slots=True)
class Collection:
    """``schema`` is the stored one: field ids given, ``$meta`` and sub-fields in it, properties apart."""

    id: int
    database: str
    name: str
    schema: schema_pb2.CollectionSchema
    shards: int
    consistency_level: int
    channels: list[str]
    created: int
    properties: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, Partition] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    indexes: dict[str, Index] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    buffered_deletes: list[BufferedDelete] = field(default_factory=list)
    checkpoints: dict[str, int] = field(default_factory=dict)
    #: The time of a flush for which something is still under way; 0: none.
    flushing: int = 0
    loaded: bool = False
    replicas: int = 0
    max_field_id: int = 0

    @property
    def fields(self) -> list[schema_pb2.FieldSchema]:
        """Every column that rows have: fields, ``$meta``, and the sub-fields of struct arrays."""
        nested = [sub for struct in self.schema.struct_array_fields for sub in struct.fields]
        return [*self.schema.fields, *nested]

    @property
    def key_field(self) -> schema_pb2.FieldSchema:
        return next(item for item in self.schema.fields if item.is_primary_key)

    @property
    def partition_key(self) -> schema_pb2.FieldSchema | None:
        return next((item for item in self.schema.fields if item.is_partition_key), None)

    @property
    def physical_channels(self) -> list[str]:
        return [channel.rsplit("_", 1)[0] for channel in self.channels]

    def field_named(self, name: str) -> schema_pb2.FieldSchema | None:
        """A sub-field of a struct array is called ``struct[sub]``."""
        for struct in self.schema.struct_array_fields:
            for sub in struct.fields:
                if name == f"{struct.name}[{sub.name}]":
                    return sub
        return next((item for item in self.schema.fields if item.name == name), None)

    def full_name(self, field: schema_pb2.FieldSchema) -> str:
        """The name by which `field_named` finds it."""
        for struct in self.schema.struct_array_fields:
            if any(sub.fieldID == field.fieldID for sub in struct.fields):
                return f"{struct.name}[{field.name}]"
        return str(field.name)

    def partition_named(self, name: str) -> Partition:
        try:
            return self.partitions[name or DEFAULT_PARTITION]
        except KeyError:
            raise no_partition(name) from None

    def channel_of(self, pk: Key) -> str:
        """The shard of a key. Milvus hashes in another way; that nobody can see."""
        return self.channels[zlib.crc32(str(pk).encode()) % len(self.channels)]

    def live_segments(self) -> list[Segment]:
        return [segment for segment in self.segments.values() if segment.state != DROPPED]

    def persistent_segments(self) -> list[Segment]:
        return [segment for segment in self.segments.values() if segment.persistent]


@dataclass(slots=True)
class Database:
    id: int
    name: str
    properties: dict[str, str] = field(default_factory=dict)
    created: int = 0
    collections: dict[str, Collection] = field(default_factory=dict)


class State:
    """Everything that one server knows. Take ``lock`` (re-entrant) around anything that reads or changes it."""

    def __init__(
        self, version: ServerVersion, store: Storage, root: str = "files", *, write_version: int | None = None
    ) -> None:
        self.version = version
        self.store = store
        #: Milvus' ``rootPath``: "" or without slashes at the ends.
        self.root = root.strip("/")
        self.lock = threading.RLock()
        self.clock = Clock()
        self.databases: dict[str, Database] = {
            DEFAULT: Database(id=1, name=DEFAULT, created=self.clock.now())
        }
        self.collections: dict[int, Collection] = {}
        self.dropped: list[Segment] = []
        self.jobs: dict[int, ImportJob] = {}
        self.snapshots: dict[int, Snapshot] = {}
        self.rbac = Rbac()
        self.authorization = False
        #: GC: until when it is paused (monotonic seconds), by collection id, 0 for all. Kept by the management port.
        self.gc_paused_until: dict[int, float] = {}
        #: What segments are written as; a 3.0 may be told to write 2.
        self.write_version = write_version or version.storage_version
        #: Whether the remote side of text embedding functions answers.
        self.providers_answer = False
        #: How deltalogs are written: "json" or "multi_field" (both in the envelope of version 1), or "packed".
        self.delta_form = "packed" if self.write_version >= 3 else "json"
        self.rows_per_log = 10_000
        #: How many flushes of a collection a second are let in (quotaAndLimits.flushRate.collection.max); 0: any number.
        self.flush_rate = FLUSH_RATE if version.has("flush_limited") else 0.0
        #: How long after its flush a segment is replaced by a sorted one.
        self.sort_seconds = SORT_SECONDS
        #: What is to be sorted: when (monotonic seconds), the collection and the segment.
        self.unsorted: list[tuple[float, int, int]] = []
        self._let_in: dict[int, float] = {}
        #: 2.2 only: a flush also writes the deletes of older segments, as ``dataNode.segment.syncPeriod`` makes it do.
        self.sync_deletes = version.has("flush_persists_deletes")
        #: Before 2.6: how many seconds at most a row or a delete is under way between getting its time and its segment.
        self.under_way_seconds = 0.0
        #: How long a compaction takes that a client asks for: what it merges is chosen when it begins.
        self.compaction_seconds = 0.0
        #: Collection id -> the times of what is under way.
        self.under_way: dict[int, list[int]] = {}
        self._next_channel = 0

    def key(self, *parts: object) -> str:
        """The key of an object below the root path."""
        return "/".join(str(part) for part in (self.root, *parts) if part != "")

    # -- what is under way -----------------------------------------------------------------------------------------

    @contextmanager
    def sent(self, collection: Collection, timestamp: int) -> Iterator[None]:
        """Something of that time is under way, and arrives with the end of the block. Others may call meanwhile."""
        if not self.under_way_seconds or self.version.has("streaming"):
            yield
            return
        times = self.under_way.setdefault(collection.id, [])
        times.append(timestamp)
        self.wait(random.uniform(0, self.under_way_seconds))
        try:
            yield
        finally:
            times.remove(timestamp)

    def has_passed(self, collection: Collection, timestamp: int) -> bool:
        """Whether everything up to that time has arrived: then the time tick of the channels is beyond it."""
        return all(time > timestamp for time in self.under_way.get(collection.id, ()))

    def wait_for(self, collection: Collection, timestamp: int) -> None:
        """As a strongly consistent query does."""
        while not self.has_passed(collection, timestamp):
            self.wait(0.001)

    def wait(self, seconds: float) -> None:
        """Lets others call meanwhile: every call holds the lock once."""
        self.lock.release()
        try:
            time.sleep(seconds)
        finally:
            self.lock.acquire()

    # -- limits ----------------------------------------------------------------------------------------------------

    def let_flush_in(self, collections: Iterable[Collection]) -> None:
        """As the proxy's limiter does, before it looks at anything else."""
        if not self.flush_rate:
            return
        now = time.monotonic()
        for collection in collections:
            if now < self._let_in.get(collection.id, 0.0) + 1 / self.flush_rate:
                raise rate_limited(self.flush_rate)
            self._let_in[collection.id] = now

    # -- finding ---------------------------------------------------------------------------------------------------

    def database(self, name: str) -> Database:
        try:
            return self.databases[name or DEFAULT]
        except KeyError:
            raise no_database(name) from None

    def collection(self, database: str, name: str) -> Collection:
        """By its name or by an alias."""
        if not name:
            raise invalid("collection name should not be empty: invalid parameter")
        found = self.database(database).collections
        if name in found:
            return found[name]
        for collection in found.values():
            if name in collection.aliases:
                return collection
        raise no_collection(name, database or DEFAULT)

    def looked_up(self, database: str, name: str) -> Collection:
        """As some newer calls do it: they never look whether there is a name (run: 2.5.27)."""
        if not name:
            raise Refused(
                "collection not found[collection=0]", code=100, error_code=common.CollectionNotExists
            )
        return self.collection(database, name)

    def collection_by_id(self, number: int) -> Collection:
        try:
            return self.collections[number]
        except KeyError:
            raise no_collection(number) from None

    def segment(self, number: int) -> Segment | None:
        for collection in self.collections.values():
            if number in collection.segments:
                return collection.segments[number]
        return None

    # -- channels --------------------------------------------------------------------------------------------------

    def new_channels(self, collection_id: int, shards: int) -> list[str]:
        """Virtual channels over 16 physical ones, taken in turn, as ``common.chanNamePrefix`` names them."""
        made = []
        for number in range(shards):
            made.append(f"by-dev-rootcoord-dml_{self._next_channel % 16}_{collection_id}v{number}")
            self._next_channel += 1
        return made

    # -- rows ------------------------------------------------------------------------------------------------------

    def visible(self, collection: Collection, partitions: Iterable[int] = ()) -> dict[Key, Row]:
        """The newest live row of each key; ``partitions`` (ids) empty: all. Deletes are those of deltalogs, L0, buffers."""
        wanted = set(partitions)
        found: dict[Key, Row] = {}
        for segment in collection.live_segments():
            if segment.is_l0 or not segment.readable or (wanted and segment.partition_id not in wanted):
                continue
            for row in self.live_rows(collection, segment):
                if row.pk not in found or found[row.pk].timestamp <= row.timestamp:
                    found[row.pk] = row
        return found

    def live_rows(self, collection: Collection, segment: Segment, *, persistent: bool = False) -> list[Row]:
        """The rows of a segment that no delete of anywhere reaches, in their order, older versions of a key too.

        ``persistent``: deletes that were not flushed yet do not count.
        """
        gone = self._deletes_on(collection, segment, persistent=persistent)
        return [row for row in segment.rows if gone.get(row.pk, 0) <= row.timestamp]

    def _deletes_on(self, collection: Collection, segment: Segment, *, persistent: bool) -> dict[Key, int]:
        found: dict[Key, int] = {}

        def add(deletes: Iterable[Delete]) -> None:
            for delete in deletes:
                found[delete.pk] = max(delete.timestamp, found.get(delete.pk, 0))

        add(segment.deletes)
        for other in collection.live_segments():
            if other.is_l0 and other.readable and _reaches(other.partition_id, other.channel, segment):
                add(other.deletes)
        add(
            item.delete
            for item in collection.buffered_deletes
            if not persistent and _reaches(item.partition_id, item.channel, segment)
        )
        return found


def _reaches(partition_id: int, channel: str, segment: Segment) -> bool:
    return channel == segment.channel and partition_id in (ALL_PARTITIONS, segment.partition_id)
