"""The Milvus port: what the engine asks of a running server, and no more.

Every call blocks, may be made from several threads, and fails with one of :mod:`mbk.errors`
(`MilvusUnavailable`, `AuthenticationFailed`, `PermissionDenied`, `CollectionNotFound`, `RateLimited`, `MilvusError`).
One call is one attempt unless its docstring says otherwise: loops over retryable errors are the engine's.
Names are plain; ``database`` is ``default`` on servers without databases.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from mbk.model.records import CollectionSchema, Database, IndexInfo, KeyValue, Rbac


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
    COUNT = "count(*)"
    REST_IMPORT = "import over REST"
    SNAPSHOT = "snapshots"
    #: Segments may be of storage version 3, which only a snapshot can hold.
    MANIFEST_SEGMENTS = "segments with manifests"
    #: Fields can be added to a collection that exists, so ids behind ``$meta`` can be made again (FORMAT.md 3.4).
    ADD_FIELD = "add field"
    #: Imports read packed segments (storage version 2).
    PACKED_SEGMENTS = "packed segments"
    #: The position of the old replication channel can be asked for (2.5 only).
    REPLICATE_POSITION = "replication position"
    #: The replicate stream that a secondary cluster is fed through.
    REPLICATE_STREAM = "replicate stream"
    #: Flush also persists deletes of segments that were flushed before (not so on 2.2, LAB.md 1.4).
    FLUSHES_DELETES = "flush persists deletes"
    #: Imports leave alone the rows that are younger than the delete of their key.
    DELETE_TIMES = "deletes by time"
    #: ``end_ts`` of an import is a hybrid timestamp; without it physical milliseconds (FORMAT.md 4.5).
    HYBRID_END_TS = "hybrid end_ts"


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class FlushPoint:
    """A collection's flush boundary: ``seal_seconds`` unix seconds, ``checkpoints`` vchannel -> ``msgpb.MsgPosition``.

    ``timestamps`` vchannel -> hybrid timestamp, read out of the positions.
    """

    seal_seconds: int = 0
    checkpoints: Mapping[str, bytes] = field(default_factory=dict)
    timestamps: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlushAllPoint:
    """One boundary over every collection. All maps are by physical channel.

    ``messages``: serialized ``commonpb.ImmutableMessage``; ``timestamps``: hybrid, the message's time tick.
    """

    messages: Mapping[str, bytes] = field(default_factory=dict)
    timestamps: Mapping[str, int] = field(default_factory=dict)
    control_channel: str = ""
    physical_channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentLogs:
    """The exact files of one segment: ``insert_logs`` field id (or column group, when packed) -> log ids."""

    v_channel: str = ""
    insert_logs: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    delta_logs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class ImportState:
    """``percent`` 0-100 as reported; ``rows`` imported so far where reported; ``reason`` for failed jobs."""

    phase: ImportPhase
    percent: int = 0
    rows: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class SnapshotState:
    """A snapshot being exported or restored. ``metadata_uri``, ``files`` and ``size`` (bytes) of a completed export."""

    phase: ImportPhase
    percent: int = 0
    reason: str = ""
    metadata_uri: str = ""
    files: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class IndexState:
    """``pending`` rows are not yet indexed; ``failed`` holds the server's reason."""

    name: str
    finished: bool
    total_rows: int = 0
    indexed_rows: int = 0
    failed: str = ""


@runtime_checkable
class Milvus(Protocol):
    @property
    def version(self) -> str:
        """As the server reports it, ``v2.3.5-lite``."""

    @property
    def features(self) -> frozenset[Feature]: ...

    def close(self) -> None: ...

    # -- what is there -------------------------------------------------------------------------------------------

    def databases(self) -> list[Database]:
        """All databases with ids and properties where the server tells; only ``default`` on servers without them."""

    def collections(self, database: str) -> list[str]: ...

    def has_collection(self, database: str, collection: str) -> bool: ...

    def describe(self, database: str, collection: str) -> CollectionInfo:
        """Schema, partitions, indexes, load state, aliases. `CollectionNotFound` where it is gone."""

    def row_count(self, database: str, collection: str) -> int | None:
        """The rows that a strongly consistent query sees, deletes applied; None where the server cannot count or the
        collection is not loaded and cannot be queried."""

    # -- backing up ----------------------------------------------------------------------------------------------

    def flush(
        self,
        database: str,
        collection: str,
        *,
        timeout: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> FlushPoint:
        """Flushes and waits until everything acknowledged before is persistent. Polls; the poll survives passing errors.

        ``sleep`` pauses between polls for so many seconds; what it raises ends the waiting.
        """

    def flush_all(self, *, sleep: Callable[[float], None] = time.sleep) -> FlushAllPoint:
        """Flushes every collection at one boundary and waits (`Feature.FLUSH_ALL`). ``sleep`` as in `flush`."""

    def segments(self, database: str, collection: str) -> list[SegmentInfo]:
        """The persistent segments, without their files; transient "segment not found" is `MilvusError`, retryable."""

    def segment_logs(
        self, database: str, collection_id: int, segments: Sequence[int]
    ) -> Mapping[int, SegmentLogs]:
        """Segment id -> its exact files, over REST (`Feature.SEGMENT_DETAIL`). Segments that are gone are left out."""

    def encryption_key(self, database: str) -> str:
        """The wrapped key of an encrypted database, over the management port; a secret."""

    def replicate_position(self) -> str:
        """Where the configured replication channel stands (`Feature.REPLICATE_POSITION`); ``""`` without replication."""

    def pause_gc(self, seconds: int, *, collection_id: int | None = None) -> str:
        """Asks for a pause over the management port; returns the ticket (``""`` where there are none).

        `Unsupported` when the server answers 404, `MilvusUnavailable` when the port does not answer.
        """

    def resume_gc(self, ticket: str = "", *, collection_id: int | None = None) -> None: ...

    def read_rbac(self) -> Rbac:
        """Users, roles, grants. Without `Feature.RBAC_BACKUP` by the ordinary calls: passwords stay empty."""

    # -- restoring -----------------------------------------------------------------------------------------------

    def create_database(self, name: str, properties: Sequence[KeyValue] = ()) -> None: ...

    def alter_collection(
        self,
        database: str,
        collection: str,
        *,
        properties: Sequence[KeyValue] = (),
        delete_keys: Sequence[str] = (),
    ) -> None: ...

    def alter_field(
        self, database: str, collection: str, field: str, *, delete_keys: Sequence[str]
    ) -> None: ...

    def alter_index(
        self, database: str, collection: str, index: str, *, delete_keys: Sequence[str]
    ) -> None: ...

    def schema_problems(self, schema: CollectionSchema) -> Sequence[str]:
        """What of the schema this server cannot represent, ``field: reason`` each; no request is made."""

    def create_collection(
        self,
        database: str,
        schema: CollectionSchema,
        *,
        shards: int,
        consistency_level: int,
        partitions: int = 0,
        properties: Sequence[KeyValue] = (),
    ) -> None:
        """Creates ``schema.name``. ``partitions`` counts them for collections with a partition key, else 0.

        `Unsupported` for what has `schema_problems`. Fields that were added to the source later are added later here, too, and a function's
        remote side is not contacted. The field ids of what was made are those of ``schema``, else `MilvusError`.
        """

    def drop_collection(self, database: str, collection: str) -> None: ...

    def create_partition(self, database: str, collection: str, partition: str) -> None:
        """Creates the partition; one that exists is no error."""

    def create_index(self, database: str, collection: str, index: IndexInfo) -> None:
        """Creates the index by ``field_name``, ``index_name`` (may be empty) and ``params``; does not wait."""

    def drop_index(self, database: str, collection: str, index: IndexInfo) -> None: ...

    def index_states(self, database: str, collection: str) -> list[IndexState]: ...

    def load(
        self,
        database: str,
        collection: str,
        *,
        partitions: Sequence[str] = (),
        replicas: int = 1,
        resource_groups: Sequence[str] = (),
    ) -> None:
        """Asks for loading; does not wait. ``partitions`` empty: all. ``resource_groups`` empty: the default one."""

    def load_progress(self, database: str, collection: str) -> int:
        """0-100."""

    def release(self, database: str, collection: str) -> None: ...

    def create_alias(self, database: str, collection: str, alias: str) -> None: ...

    def start_import(self, request: ImportRequest) -> str:
        """Starts one job and returns its id."""

    def import_state(self, job: str, *, database: str = "", rest: bool = False) -> ImportState:
        """An unknown job is `ImportFailed`. ``rest``: where alone it is told that a job waits for its commit."""

    def import_jobs(self, database: str, collection: str, *, rest: bool = False) -> list[str] | None:
        """The ids of the jobs that the server still knows, of all collections for ``""``; None where it does not tell.

        ``rest``: asked over REST, as jobs are that were started there. A started job whose answer got lost is found here.
        """

    def restore_rbac(self, rbac: Rbac) -> list[str]:
        """Adds the users, roles, grants and groups that do not exist yet; returns a line for each that was left alone
        or could not be made (users whose password cannot be known)."""

    # -- snapshots (`Feature.SNAPSHOT`, FORMAT.md 6.2) -----------------------------------------------------------

    def create_snapshot(self, database: str, collection: str, snapshot: str, *, description: str = "") -> int:
        """Makes the snapshot; returns its hybrid timestamp. One of that name that exists is taken as it is."""

    def snapshots(self, database: str, collection: str, *, prefix: str) -> Mapping[str, str]:
        """Those of the collection whose names begin with ``prefix``, each with its description."""

    def drop_snapshot(self, database: str, collection: str, snapshot: str) -> None:
        """One that is not there is no error."""

    def export_snapshot(self, database: str, collection: str, snapshot: str, *, uri: str, spec: str) -> str:
        """Starts copying it below ``uri``; ``spec`` is the JSON of an external store, a secret, or ``""``. The job's id."""

    def export_state(self, job: str) -> SnapshotState: ...

    def restore_snapshot(self, database: str, collection: str, *, uri: str, spec: str) -> str:
        """Starts making ``collection`` out of the snapshot's metadata at ``uri``. Returns the job's id."""

    def restore_snapshot_state(self, job: str) -> SnapshotState: ...
