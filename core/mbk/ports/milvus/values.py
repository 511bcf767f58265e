"""What the Milvus port speaks in: values that nobody changes. Who needs another one makes it (`dataclasses.replace`).

Names are plain; ``database`` is ``default`` on servers without databases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from mbk.frozen import frozen
from mbk.model.records import CollectionSchema, IndexInfo, KeyValue


class Feature(Enum):
    """What a server may or may not be able to do. The engine asks for these, never for a version."""

    DATABASES = "databases"
    DESCRIBE_DATABASE = "describe database"
    SEGMENT_DETAIL = "exact binlog lists"
    L0_SEGMENTS = "L0 segments"
    MULTI_L0_IMPORT = "several L0 segments an import job"
    FLUSH_ALL = "flush all"
    COLLECTION_GC_PAUSE = "GC pause by collection"
    FUNCTION_CHECK_SWITCH = "function runtime check switch"
    RBAC_BACKUP = "RBAC backup"
    ALIASES = "aliases"
    #: A collection can be given another name, so that one takes the place of another.
    RENAME = "rename collections"
    COUNT = "count(*)"
    REST_IMPORT = "import over REST"
    SNAPSHOT = "snapshots"
    #: Segments may be of storage version 3, which only a snapshot can hold.
    MANIFEST_SEGMENTS = "segments with manifests"
    #: Fields can be added to a collection that exists, so ids behind ``$meta`` can be made again.
    ADD_FIELD = "add field"
    #: Imports read packed segments (storage version 2).
    PACKED_SEGMENTS = "packed segments"
    #: The position of the old replication channel can be asked for (2.5 only).
    REPLICATE_POSITION = "replication position"
    #: The stream through which a standby cluster receives the log of its source.
    REPLICATE_STREAM = "replicate stream"
    #: Flush also persists deletes of segments that were flushed before (not so on 2.2).
    FLUSHES_DELETES = "flush persists deletes"
    #: Imports take L0 segments (3.0 refuses them by default).
    L0_IMPORT = "import of L0 segments"
    #: The log gives every row its time as it is written, so that none is under way at the time of a flush (2.6).
    STREAMING = "times given by the log"
    #: Imports leave alone the rows that are younger than the delete of their key.
    DELETE_TIMES = "deletes by time"
    #: Imports fill columns that the files lack: of fields that are nullable or have a default.
    FILLS_COLUMNS = "imports fill missing columns"
    #: ``end_ts`` of an import is a hybrid timestamp; without it physical milliseconds.
    HYBRID_END_TS = "hybrid end_ts"


@frozen
class PartitionInfo:
    id: int
    name: str


@frozen
class CollectionInfo:
    """What a server says of a collection. ``load_state`` is one of the strings of the format (``NotLoad`` …).

    ``schema.properties`` and ``properties`` both hold the union of what the server reports.
    """

    database: str
    name: str
    id: int
    schema: CollectionSchema
    shards: int
    consistency_level: int
    partitions: tuple[PartitionInfo, ...]
    indexes: tuple[IndexInfo, ...] = ()
    load_state: str = ""
    partition_load_states: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 0
    properties: tuple[KeyValue, ...] = ()
    aliases: tuple[str, ...] = ()
    database_id: int = 0
    created_timestamp: int = 0
    virtual_channels: tuple[str, ...] = ()
    physical_channels: tuple[str, ...] = ()
    #: The data lies outside of Milvus: nothing of it can be backed up.
    external: bool = False
    #: Those of the replicas, while the collection is loaded.
    resource_groups: tuple[str, ...] = ()
    update_timestamp: int = 0


@frozen
class FlushPoint:
    """A collection's flush boundary: ``seal_seconds`` unix seconds, ``checkpoints`` vchannel -> ``msgpb.MsgPosition``.

    ``timestamps`` vchannel -> hybrid timestamp, read out of the positions. ``timestamp``: the hybrid timestamp of the flush
    itself, which every channel has passed; 0 where the server tells none. When the flush began, every row lay in the
    segments ``sealed`` by it or in those that were ``persistent`` already (L0 segments excluded).
    """

    seal_seconds: int = 0
    checkpoints: Mapping[str, bytes] = field(default_factory=dict)
    timestamps: Mapping[str, int] = field(default_factory=dict)
    timestamp: int = 0
    sealed: frozenset[int] = frozenset()
    persistent: frozenset[int] = frozenset()


@frozen
class FlushAllPoint:
    """One boundary over every collection. All maps are by physical channel.

    ``messages``: serialized ``commonpb.ImmutableMessage``; ``timestamps``: hybrid, the message's time tick.
    """

    messages: Mapping[str, bytes] = field(default_factory=dict)
    timestamps: Mapping[str, int] = field(default_factory=dict)
    control_channel: str = ""
    physical_channels: tuple[str, ...] = ()


@frozen
class SegmentLogs:
    """The exact files of one segment: ``insert_logs`` field id (or column group, when packed) -> log ids."""

    v_channel: str = ""
    insert_logs: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    delta_logs: tuple[int, ...] = ()


@frozen
class SegmentInfo:
    """A persistent (flushed or flushing) segment. ``insert_logs``: field id -> log ids, None where the server cannot tell."""

    id: int
    partition_id: int
    rows: int
    is_l0: bool = False
    storage_version: int = 0
    v_channel: str = ""
    insert_logs: Mapping[int, tuple[int, ...]] | None = None
    delta_logs: tuple[int, ...] | None = None


class ImportPhase(Enum):
    """``UNCOMMITTED``: everything is read, and the job waits for a commit that somebody else must send."""

    RUNNING = "running"
    UNCOMMITTED = "uncommitted"
    COMPLETED = "completed"
    FAILED = "failed"


@frozen
class ImportState:
    """``percent`` 0-100 as reported; ``rows`` imported so far where reported; ``reason`` for failed jobs."""

    phase: ImportPhase
    percent: int = 0
    rows: int = 0
    reason: str = ""


@frozen
class ImportRequest:
    """One import job. ``files``: for each import file its paths, ``(insert,)``, ``(insert, delta)`` or ``(delta,)`` for L0.

    Paths are as Milvus names them, directories with a trailing ``/``. ``end_ts`` is a hybrid timestamp, 0 for none;
    the adapter converts it to the unit that the server wants. ``rest``: over REST (`Feature.REST_IMPORT`), which alone
    takes several files a job.
    """

    database: str
    collection: str
    partition: str
    files: tuple[tuple[str, ...], ...]
    l0: bool = False
    end_ts: int = 0
    storage_version: int = 0
    ezk: str = field(default="", repr=False)
    rest: bool = False


@frozen
class SnapshotState:
    """A snapshot being exported or restored. ``metadata_uri``, ``files`` and ``size`` (bytes) of a completed export."""

    phase: ImportPhase
    percent: int = 0
    reason: str = ""
    metadata_uri: str = ""
    files: int = 0
    size: int = 0


@frozen
class IndexState:
    """``indexed_rows`` of ``total_rows`` are indexed; ``failed`` holds the server's reason, ``""`` for one that did not fail."""

    name: str
    finished: bool
    total_rows: int = 0
    indexed_rows: int = 0
    failed: str = ""
