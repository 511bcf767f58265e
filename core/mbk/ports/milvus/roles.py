"""The Milvus port by role: what the engine asks of a running server, and no more.

Every call blocks, may be made from several threads, and fails with one of :mod:`mbk.errors`
(`MilvusUnavailable`, `AuthenticationFailed`, `PermissionDenied`, `CollectionNotFound`, `RateLimited`, `MilvusError`).
One call is one attempt unless its docstring says otherwise: loops over retryable errors are the engine's.
What a server lacks (:class:`~mbk.ports.milvus.values.Feature`) is `Unsupported`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mbk.model.records import CollectionSchema, Database, IndexInfo, KeyValue, Rbac
from mbk.ports.milvus.values import (
    CollectionInfo,
    FlushAllPoint,
    FlushPoint,
    ImportRequest,
    ImportState,
    IndexState,
    SegmentInfo,
    SegmentLogs,
    SnapshotState,
)


class Inventory(Protocol):
    """What is there."""

    def databases(self) -> list[Database]:
        """All databases with ids and properties where the server tells; only ``default`` on servers without them."""

    def collections(self, database: str) -> list[str]: ...

    def has_collection(self, database: str, collection: str) -> bool:
        """Also true for an alias, as the server sees it; false in a database that is not there."""

    def describe(self, database: str, collection: str) -> CollectionInfo:
        """Schema, partitions, indexes, load state, aliases. `CollectionNotFound` where it is gone."""


class Rows(Protocol):
    """The rows of a collection, as queries see them."""

    def count(self, database: str, collection: str) -> int | None:
        """The rows that a strongly consistent query sees, deletes applied; None where the server cannot count or the
        collection is not loaded and cannot be queried."""

    def having(
        self, database: str, collection: str, key: str, values: Sequence[int | str]
    ) -> list[int | str]:
        """The primary keys among ``values`` that a strongly consistent query finds, one for each row. ``key`` is the field.

        `MilvusError` for a collection that is not loaded.
        """


class Points(Protocol):
    """Points in time up to which everything acknowledged is persistent."""

    def now(self) -> int:
        """The hybrid timestamp of the server's clock; 0 where the server does not tell it (before 2.2.11)."""

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

    def replicate_position(self) -> str:
        """Where the configured replication channel stands (`Feature.REPLICATE_POSITION`); ``""`` without replication."""


class Segments(Protocol):
    """The files that a collection's data lies in."""

    def persistent(self, database: str, collection: str) -> list[SegmentInfo]:
        """The persistent segments, without their files; transient "segment not found" is `MilvusError`, retryable."""

    def logs(self, database: str, collection_id: int, segments: Sequence[int]) -> Mapping[int, SegmentLogs]:
        """Segment id -> its exact files, over REST (`Feature.SEGMENT_DETAIL`). Segments that are gone are left out."""


class GcPause(Protocol):
    """Keeps Milvus from deleting files that a backup still reads, over the management port."""

    def pause(self, seconds: int, *, collection_id: int | None = None) -> str:
        """Asks for a pause over the management port; returns the ticket (``""`` where there are none).

        `Unsupported` when the server answers 404, `MilvusUnavailable` when the port does not answer.
        """

    def resume(self, ticket: str = "", *, collection_id: int | None = None) -> None:
        """Ends the pause of ``ticket``; without tickets, the one pause that there is."""


class Access(Protocol):
    """Users, roles and grants, and the keys of encrypted databases."""

    def read(self) -> Rbac:
        """Users, roles, grants. Without `Feature.RBAC_BACKUP` by the ordinary calls: passwords stay empty."""

    def restore(self, rbac: Rbac) -> list[str]:
        """Adds the users, roles, grants and groups that do not exist yet; returns a line for each that was left alone
        or could not be made (users whose password cannot be known)."""

    def encryption_key(self, database: str) -> str:
        """The wrapped key of an encrypted database, over the management port; a secret."""


class Definitions(Protocol):
    """Databases, collections and what belongs to them: made, changed, loaded and dropped."""

    def schema_problems(self, schema: CollectionSchema) -> Sequence[str]:
        """What of the schema this server cannot represent, ``field: reason`` each; no request is made."""

    def unsendable(
        self,
        schema: CollectionSchema,
        *,
        shards: int,
        consistency_level: int,
        partitions: int,
        replicas: int,
        indexes: Sequence[IndexInfo] = (),
    ) -> Sequence[str]:
        """What of a collection's definition fits into no request at all, ``where: why`` each; no request is made."""

    def create_database(self, name: str, properties: Sequence[KeyValue] = ()) -> None:
        """`AlreadyExists` for one that is there. Properties are left out where the server has none for databases, and
        so are those that are the server's own, and locks."""

    def drop_database(self, name: str) -> None:
        """One that is not there is no error; `MilvusError` for one that has collections."""

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

        `Unsupported` for what has `schema_problems`. Fields that were added to the source later are added later here,
        too, and a function's remote side is not contacted. The field ids of what was made are those of ``schema``, else
        `MilvusError`. `CollectionExists` for the name of a different collection. A call that failed after the creation
        can be made again: it goes on where the first one stopped.
        """

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

    def drop_collection(self, database: str, collection: str) -> None:
        """A collection that is not there is no error."""

    def create_partition(self, database: str, collection: str, partition: str) -> None:
        """Creates the partition; one that exists is no error."""

    def create_index(self, database: str, collection: str, index: IndexInfo) -> None:
        """Creates the index by ``field_name``, ``index_name`` (may be empty) and ``params``; does not wait."""

    def drop_index(self, database: str, collection: str, index: IndexInfo) -> None: ...

    def index_states(self, database: str, collection: str) -> list[IndexState]:
        """How far each index is built; empty for a collection without indexes."""

    def create_alias(self, database: str, collection: str, alias: str) -> None: ...

    def alter_alias(self, database: str, collection: str, alias: str) -> None:
        """The existing ``alias`` stands for ``collection`` from now on, whatever it stood for."""

    def rename_collections(self, database: str, names: Sequence[tuple[str, str]]) -> None:
        """Gives collections, no aliases, other names within their database (`Feature.RENAME`): ``names`` are pairs of the
        name and the new name, in this order, with nothing between them; the first that fails ends it.

        They keep id, rows, aliases and load state. `MilvusError` where a new name is that of a collection or an alias,
        which servers look at first.
        """

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
        """Percent, 0-100; `MilvusError` for a collection that is not loading: nobody asked for it, or it failed."""

    def release(self, database: str, collection: str) -> None: ...


class Imports(Protocol):
    """Import jobs: files of a bucket become rows."""

    def start(self, request: ImportRequest) -> str:
        """Starts one job and returns its id."""

    def state(self, job: str, *, database: str = "", rest: bool = False) -> ImportState:
        """An unknown job is `ImportFailed`. ``rest``: where alone it is told that a job waits for its commit."""

    def jobs(self, database: str, collection: str, *, rest: bool = False) -> list[str] | None:
        """The ids of the jobs that the server still knows, of all collections for ``""``; None where it does not tell.

        ``rest``: asked over REST, as jobs are that were started there. A started job whose answer got lost is found here.
        """


class Snapshots(Protocol):
    """Snapshots that the server makes, exports and restores by itself (`Feature.SNAPSHOT`)."""

    def create(self, database: str, collection: str, snapshot: str, *, description: str = "") -> int:
        """Makes the snapshot; returns its hybrid timestamp. One of that name that exists is taken as it is."""

    def find(self, database: str, collection: str, *, prefix: str) -> Mapping[str, str]:
        """Those of the collection whose names begin with ``prefix``, each with its description."""

    def drop(self, database: str, collection: str, snapshot: str) -> None:
        """One that is not there is no error."""

    def export(self, database: str, collection: str, snapshot: str, *, uri: str, spec: str) -> str:
        """Starts copying it below ``uri``; ``spec`` is the JSON of an external store, a secret, or ``""``. The job's id."""

    def export_state(self, job: str) -> SnapshotState:
        """An unknown job is `ImportFailed`."""

    def restore(self, database: str, collection: str, *, uri: str, spec: str) -> str:
        """Starts making ``collection`` out of the snapshot's metadata at ``uri``. Returns the job's id."""

    def restore_state(self, job: str) -> SnapshotState:
        """An unknown job is `ImportFailed`."""
