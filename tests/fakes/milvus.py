"""A Milvus in memory that implements :mod:`mbk.ports.milvus` honestly where backup and restore can notice.

Its rows live as objects in a storage, in Milvus' own layout; it imports by listing the directories that it is handed
(docs/reference/milvus-protocol.md, "Files of an import job"), so a wrong directory, a missing slash or a doubled
segment shows in its rows. The payload of a binlog is a JSON list of one field's values, that of a delta log a JSON list
of ``[primary key, timestamp]``.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy, deepcopy
from typing import Any

from mbk.errors import AlreadyExists, CollectionExists, CollectionNotFound, ImportFailed, MilvusError
from mbk.model.layout import segment_prefixes
from mbk.model.records import (
    ALL_PARTITIONS,
    LOADED,
    NOT_LOADED,
    CollectionSchema,
    Database,
    IndexInfo,
    KeyValue,
    Rbac,
)
from mbk.ports.milvus.values import (
    CollectionInfo,
    Feature,
    FlushPoint,
    ImportPhase,
    ImportRequest,
    ImportState,
    IndexState,
    PartitionInfo,
    SegmentInfo,
)
from mbk.ports.storage import Storage
from tests.fakes.newer import PCHANNEL, Newer
from tests.fakes.rows import (
    BadImport,
    Collection,
    Delete,
    Objects,
    Row,
    Segment,
    newest_deletes,
    position,
    schema,
)

#: Of a 2.3 server.
V2_3 = frozenset(
    {
        Feature.DATABASES,
        Feature.COUNT,
        Feature.ALIASES,
        Feature.FLUSHES_DELETES,
        Feature.DELETE_TIMES,
        Feature.RENAME,
    }
)
#: Of a 2.4 server: deletes live in segments of their own.
V2_4 = V2_3 | {Feature.L0_SEGMENTS, Feature.L0_IMPORT, Feature.REST_IMPORT, Feature.HYBRID_END_TS}
#: Of a late 2.5 server.
V2_5 = V2_4 | {
    Feature.DESCRIBE_DATABASE, Feature.RBAC_BACKUP, Feature.SEGMENT_DETAIL, Feature.REPLICATE_POSITION,
}  # fmt: skip
#: Of a late 2.6 server.
V2_6 = (V2_5 - {Feature.REPLICATE_POSITION}) | {
    Feature.FLUSH_ALL, Feature.COLLECTION_GC_PAUSE, Feature.MULTI_L0_IMPORT, Feature.FUNCTION_CHECK_SWITCH,
    Feature.ADD_FIELD, Feature.PACKED_SEGMENTS, Feature.REPLICATE_STREAM, Feature.STREAMING,
}  # fmt: skip


class Role:
    """Methods of the fake under the names that one role of the port has for them.

    A test may put another function in a method's place, and take it away again.
    """

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self._methods = methods

    def __getattr__(self, name: str) -> Callable[..., Any]:
        try:
            return self._methods[name]
        except KeyError:
            raise AttributeError(name) from None


class FakeMilvus(Newer):
    """One server over ``storage``. ``fault`` is called before each call with its name and its object."""

    version = "v2.3.5-fake"

    def __init__(
        self,
        storage: Storage,
        *,
        features: frozenset[Feature] = V2_3,
        fault: Callable[[str, str], None] | None = None,
        first_id: int = 460000,
    ) -> None:
        self.features = features
        self.fault = fault or (lambda _call, _what: None)
        self.calls: list[tuple[str, str]] = []
        #: Collection -> what of it this server cannot represent.
        self.problems: dict[str, tuple[str, ...]] = {}
        self.import_requests: list[ImportRequest] = []
        self.gc_tickets: dict[str, int | None] = {}
        self.encryption_keys: dict[str, str] = {}
        self.database_properties: dict[str, list[KeyValue]] = {}
        self._storage = storage
        self._objects = Objects(storage)
        self._ids = itertools.count(first_id)
        self._clock = itertools.count(463267588014080003, 1 << 18)
        self._databases = {"default": 1}
        self._collections: dict[tuple[str, str], Collection] = {}
        self._jobs: dict[str, ImportState] = {}
        self._lock = threading.RLock()
        self._deal_out()

    def _deal_out(self) -> None:
        """The roles of the port, made of the methods below."""
        self.inventory = Role(
            databases=self.databases,
            collections=self.collections,
            has_collection=self.has_collection,
            describe=self.describe,
        )
        self.rows = Role(count=self.row_count, having=self.having)
        self.points = Role(
            now=self.now,
            flush=self.flush,
            flush_all=self.flush_all,
            replicate_position=self.replicate_position,
        )
        self.segments = Role(persistent=self.persistent_segments, logs=self.segment_logs)
        self.gc = Role(pause=self.pause_gc, resume=self.resume_gc)
        self.access = Role(read=self.read_rbac, restore=self.restore_rbac, encryption_key=self.encryption_key)
        self.definitions = Role(
            schema_problems=self.schema_problems,
            unsendable=lambda *_args, **_named: (),
            create_database=self.create_database,
            drop_database=self.drop_database,
            create_collection=self.create_collection,
            alter_collection=self.alter_collection,
            alter_field=self.alter_field,
            alter_index=self.alter_index,
            drop_collection=self.drop_collection,
            create_partition=self.create_partition,
            create_index=self.create_index,
            drop_index=self.drop_index,
            index_states=self.index_states,
            create_alias=self.create_alias,
            alter_alias=self.alter_alias,
            rename_collections=self.rename_collections,
            load=self.load,
            load_progress=self.load_progress,
            release=self.release,
        )
        self.imports = Role(start=self.start_import, state=self.import_state, jobs=self.import_jobs)
        self.snapshots = Role(
            create=self.create_snapshot,
            find=self.find_snapshots,
            drop=self.drop_snapshot,
            export=self.export_snapshot,
            export_state=self.export_state,
            restore=self.restore_snapshot,
            restore_state=self.restore_snapshot_state,
        )

    # -- what a test does with it --------------------------------------------------------------------------------

    def add(
        self, name: str, *, database: str = "default", partitions: Sequence[str] = ("_default",)
    ) -> Collection:
        self._databases.setdefault(database, next(self._ids))
        made = Collection(
            database, name, next(self._ids), schema(name), {p: next(self._ids) for p in partitions}
        )
        self._collections[database, name] = made
        return made

    def insert(
        self,
        name: str,
        keys: Iterable[int],
        *,
        database: str = "default",
        partition: str = "_default",
        flush: bool = True,
    ) -> None:
        collection = self._collections[database, name]
        rows = [(key, next(self._clock), f"text {key}") for key in keys]
        collection.growing.append((partition, rows))
        if flush:
            self._seal(collection)

    def delete(self, name: str, keys: Iterable[int], *, database: str = "default") -> None:
        """Deletes into an L0 segment of all partitions where the server has those, else beside each data segment."""
        collection = self._collections[database, name]
        self._seal(collection)
        deletes = [(key, next(self._clock)) for key in keys]
        if Feature.L0_SEGMENTS in self.features:
            self._write_l0(collection, ALL_PARTITIONS, deletes)
            return
        for segment in collection.segments:
            own = {key for key, _, _ in self._segment_rows(collection, segment)}
            mine = [delete for delete in deletes if delete[0] in own]
            if mine:
                self._write_deltas(collection, segment, mine)

    def become(self, other: FakeMilvus) -> None:
        """Takes over what ``other`` is now and holds, but for its objects: those are in its storage."""
        for name, own in vars(self).items():
            if name not in ("fault", "_storage", "_objects", "_lock") and not isinstance(own, Role):
                setattr(self, name, deepcopy(getattr(other, name)))

    def compact(self, name: str, *, database: str = "default") -> None:
        """Replaces each partition's data segments by one new segment, and the garbage collector is quick."""
        collection = self._collections[database, name]
        for partition in collection.partitions.values():
            old = [s for s in collection.segments if s.partition == partition and not s.is_l0]
            rows = [
                row
                for segment in old
                for row in self._live(self._segment_rows(collection, segment), segment, collection)
            ]
            for segment in old:
                for prefix in self._prefixes(collection, segment):
                    self._storage.delete([entry.key for entry in self._storage.list(prefix)])
                collection.segments.remove(segment)
            self._write_segment(collection, partition, rows)

    def visible_rows(self, name: str, *, database: str = "default") -> list[Row]:
        """The rows that a query sees, sorted: doubled ones stand there twice."""
        return sorted((key, value) for _, key, value in self._rows(self._collections[database, name]))

    def rows_by_partition(self, name: str, *, database: str = "default") -> dict[str, list[Row]]:
        collection = self._collections[database, name]
        names = {number: name for name, number in collection.partitions.items()}
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for partition, key, value in self._rows(collection):
            found[names[partition]].append((key, value))
        return {partition: sorted(rows) for partition, rows in found.items()}

    @property
    def names(self) -> set[str]:
        return {f"{database}.{name}" for database, name in self._collections}

    @property
    def gc_paused(self) -> int:
        """How many leases of the pause are held."""
        return len(self.gc_tickets)

    # -- what is there -------------------------------------------------------------------------------------------

    def close(self) -> None:
        pass

    def databases(self) -> list[Database]:
        self._called("databases", "")
        return [
            Database(db_name=name, db_id=number, properties=self.database_properties.get(name, []))
            for name, number in self._databases.items()
        ]

    def collections(self, database: str) -> list[str]:
        self._called("collections", database)
        return [name for found, name in self._collections if found == database]

    def has_collection(self, database: str, collection: str) -> bool:
        self._called("has_collection", collection)
        return self._find(database, collection) is not None

    def describe(self, database: str, collection: str) -> CollectionInfo:
        self._called("describe", collection)
        found = self._get(database, collection)
        return CollectionInfo(
            database,
            found.name,
            found.id,
            CollectionSchema(
                name=found.name,
                description=found.schema.description,
                fields=list(found.schema.fields),
                properties=list(found.schema.properties),
                enable_dynamic_field=found.schema.enable_dynamic_field,
            ),
            found.shards,
            2,
            tuple(PartitionInfo(number, name) for name, number in found.partitions.items()),
            indexes=tuple(map(copy, found.indexes)),
            load_state=LOADED if found.loaded else NOT_LOADED,
            aliases=tuple(found.aliases),
            database_id=self._databases[database],
            virtual_channels=(self._channel(found),),
            physical_channels=(PCHANNEL,),
            external=found.external,
        )

    def row_count(self, database: str, collection: str) -> int | None:
        self._called("row_count", collection)
        self._get(database, collection)
        return (
            len(self.visible_rows(collection, database=database)) if Feature.COUNT in self.features else None
        )

    def having(
        self, database: str, collection: str, key: str, values: Sequence[int | str]
    ) -> list[int | str]:
        self._called("having", f"{collection} {key}")
        return [found for found, _ in self.visible_rows(collection, database=database) if found in values]

    # -- backing up ----------------------------------------------------------------------------------------------

    def flush(
        self,
        database: str,
        collection: str,
        *,
        timeout: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> FlushPoint:
        self._called("flush", collection)
        found = self._get(database, collection)
        before = frozenset(segment.id for segment in found.segments if not segment.is_l0)
        self._seal(found)
        after = frozenset(segment.id for segment in found.segments if not segment.is_l0)
        now = next(self._clock)
        channel = self._channel(found)
        return FlushPoint(
            1767225601, {channel: position(channel, now)}, {channel: now}, now, after - before, before
        )

    def now(self) -> int:
        return next(self._clock)

    def persistent_segments(self, database: str, collection: str) -> list[SegmentInfo]:
        self._called("segments", collection)
        found = self._get(database, collection)
        return [
            SegmentInfo(segment.id, segment.partition, segment.rows, segment.is_l0, segment.storage_version)
            for segment in found.segments
        ]

    def read_rbac(self) -> Rbac:
        return Rbac()

    # -- restoring -----------------------------------------------------------------------------------------------

    def create_database(self, name: str, properties: Sequence[KeyValue] = ()) -> None:
        self._called("create_database", name)
        self._databases.setdefault(name, next(self._ids))

    def drop_database(self, name: str) -> None:
        self._called("drop_database", name)
        if any(database == name for database, _ in self._collections):
            raise MilvusError(f"database {name} is not empty", code="test")
        self._databases.pop(name, None)

    def schema_problems(self, schema: CollectionSchema) -> Sequence[str]:
        self._called("schema_problems", schema.name)
        return self.problems.get(schema.name, ())

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
        self._called("create_collection", schema.name)
        if self._find(database, schema.name) is not None:
            raise CollectionExists(f"collection {schema.name} exists")
        names = [f"_default_{number}" for number in range(partitions)] or ["_default"]
        made = self.add(schema.name, database=database, partitions=names)
        made.schema, made.shards = schema, shards

    def drop_collection(self, database: str, collection: str) -> None:
        self._called("drop_collection", collection)
        found = self._find(database, collection)
        if found is None:
            return
        if found.name != collection:
            raise MilvusError(f"cannot drop the collection via alias = {collection}")
        if found.aliases and Feature.RBAC_BACKUP in self.features:
            raise MilvusError(
                f"unable to drop the collection [{collection}] because it has associated aliases"
            )
        del self._collections[database, collection]

    def create_partition(self, database: str, collection: str, partition: str) -> None:
        self._called("create_partition", partition)
        self._get(database, collection).partitions.setdefault(partition, next(self._ids))

    def create_index(self, database: str, collection: str, index: IndexInfo) -> None:
        self._called("create_index", index.index_name)
        self._get(database, collection).indexes.append(index)

    def drop_index(self, database: str, collection: str, index: IndexInfo) -> None:
        self._called("drop_index", index.index_name)
        self._get(database, collection).indexes.remove(index)

    def index_states(self, database: str, collection: str) -> list[IndexState]:
        self._called("index_states", collection)
        return [
            IndexState(index.index_name, finished=True) for index in self._get(database, collection).indexes
        ]

    def load(
        self,
        database: str,
        collection: str,
        *,
        partitions: Sequence[str] = (),
        replicas: int = 1,
        resource_groups: Sequence[str] = (),
    ) -> None:
        self._called("load", collection)
        self._get(database, collection).loaded = True

    def load_progress(self, database: str, collection: str) -> int:
        self._called("load_progress", collection)
        return 100

    def release(self, database: str, collection: str) -> None:
        self._called("release", collection)
        self._get(database, collection).loaded = False

    def create_alias(self, database: str, collection: str, alias: str) -> None:
        self._called("create_alias", alias)
        owner = self._find(database, alias)
        found = self._get(database, collection)
        if owner is not None and owner is not found:
            raise AlreadyExists(f"{alias} is alias to another collection: {owner.name}: alias already exist")
        if owner is None:
            found.aliases.append(alias)

    def alter_alias(self, database: str, collection: str, alias: str) -> None:
        self._called("alter_alias", alias)
        found, owner = self._get(database, collection), self._find(database, alias)
        if owner is None or alias not in owner.aliases:
            raise MilvusError(f"alias not found[database={database}][alias={alias}]")
        owner.aliases.remove(alias)
        found.aliases.append(alias)

    def rename_collections(self, database: str, names: Sequence[tuple[str, str]]) -> None:
        for collection, name in names:
            self.rename_collection(database, collection, name)

    def rename_collection(self, database: str, collection: str, name: str) -> None:
        self._called("rename_collection", collection)
        if self._find(database, name) is not None:
            raise MilvusError(f"duplicated new collection name {database}:{name}")
        found = self._get(database, collection)
        if found.name != collection:
            raise MilvusError(f"unsupported use an alias to rename collection, alias:{collection}")
        del self._collections[database, collection]
        found.name = name
        self._collections[database, name] = found

    def start_import(self, request: ImportRequest) -> str:
        self._called("start_import", request.collection)
        self.import_requests.append(request)
        job = str(next(self._ids))
        try:
            rows = self._import(request)
        except BadImport as reason:
            self._jobs[job] = ImportState(ImportPhase.FAILED, reason=str(reason))
        else:
            self._jobs[job] = ImportState(ImportPhase.COMPLETED, 100, rows)
        return job

    def import_state(self, job: str, *, database: str = "") -> ImportState:
        self._called("import_state", job)
        if job not in self._jobs:
            raise ImportFailed(f"job {job} is not known")
        return self._jobs[job]

    def import_jobs(self, database: str, collection: str, *, rest: bool = False) -> list[str] | None:
        self._called("import_jobs", collection)
        return list(self._jobs)

    def restore_rbac(self, rbac: Rbac) -> list[str]:
        self._called("restore_rbac", "")
        return []

    # -- import --------------------------------------------------------------------------------------------------

    def _import(self, request: ImportRequest) -> int:
        collection = self._get(request.database, request.collection)
        for file in request.files:
            for path in file:
                if not path.endswith("/"):
                    raise BadImport(f"path {path!r} matches its siblings too")
        with self._lock:
            if request.l0:
                return self._import_l0(collection, request)
            return sum(self._import_file(collection, request, file) for file in request.files)

    def _import_l0(self, collection: Collection, request: ImportRequest) -> int:
        if Feature.L0_SEGMENTS not in self.features or collection.loaded:
            raise BadImport("for l0 import, collection cannot be loaded")
        partition = collection.partitions[request.partition] if request.partition else ALL_PARTITIONS
        for (path,) in request.files:
            deletes = self._objects.deletes(self._key(path))
            if not deletes:
                raise BadImport("no binlog to import")
            self._write_l0(collection, partition, deletes)
        return 0

    def _import_file(self, collection: Collection, request: ImportRequest, paths: tuple[str, ...]) -> int:
        if not 1 <= len(paths) <= 2:
            raise BadImport("too many input paths for binlog import")
        inserts, *rest = (self._children(self._key(path)) for path in paths)
        deltas = rest[0] if rest else {}
        rows: list[tuple[int, int, str]] = []
        for name, prefix in inserts.items():
            deletes = self._objects.deletes(deltas[name]) if name in deltas else []
            deleted = newest_deletes(item for item in deletes if item[1] <= (request.end_ts or item[1]))
            rows += [row for row in self._objects.rows(prefix) if deleted.get(row[0], 0) <= row[1]]
        if request.end_ts:
            rows = [row for row in rows if row[1] <= request.end_ts]
        if rows:
            self._write_segment(collection, collection.partitions[request.partition], rows)
        return len(rows)

    def _key(self, path: str) -> str:
        """On a file system this server is told paths, elsewhere keys (`Location.mount`)."""
        mount = self._storage.location.mount
        if not path.startswith(mount):
            raise BadImport(f"{path!r} is not below {mount}")
        return path.removeprefix(mount)

    def _children(self, prefix: str) -> dict[str, str]:
        return {found[len(prefix) : -1]: found for found in self._storage.list_level(prefix).prefixes}

    # -- segments as objects -------------------------------------------------------------------------------------

    def _seal(self, collection: Collection) -> None:
        with self._lock:
            growing, collection.growing = collection.growing, []
            for partition, rows in growing:
                self._write_segment(collection, collection.partitions[partition], rows)

    def _write_segment(
        self, collection: Collection, partition: int, rows: Sequence[tuple[int, int, str]]
    ) -> None:
        if not rows:
            return
        segment = Segment(next(self._ids), partition, len(rows))
        prefix, _ = self._prefixes(collection, segment)
        segment.logs = self._objects.put_rows(prefix, rows, self._ids)
        collection.segments.append(segment)

    def _write_l0(self, collection: Collection, partition: int, deletes: list[Delete]) -> None:
        segment = Segment(next(self._ids), partition, len(deletes), is_l0=True)
        self._write_deltas(collection, segment, deletes)
        collection.segments.append(segment)

    def _write_deltas(self, collection: Collection, segment: Segment, deletes: list[Delete]) -> None:
        _, prefix = self._prefixes(collection, segment)
        log = next(self._ids)
        self._objects.put(f"{prefix}{log}", deletes)
        segment.deltas += (log,)

    def _prefixes(self, collection: Collection, segment: Segment) -> tuple[str, str]:
        return segment_prefixes(self._storage.location.root, collection.id, segment.partition, segment.id)

    def _segment_rows(self, collection: Collection, segment: Segment) -> list[tuple[int, int, str]]:
        if segment.is_l0:
            return []
        known = {log for logs in segment.logs.values() for log in logs}
        return self._objects.rows(self._prefixes(collection, segment)[0], only=known)

    def _live(
        self, rows: list[tuple[int, int, str]], segment: Segment, collection: Collection
    ) -> list[tuple[int, int, str]]:
        deletes = self._objects.deletes(self._prefixes(collection, segment)[1])
        for other in collection.segments:
            if other.is_l0 and other.partition in (segment.partition, ALL_PARTITIONS):
                deletes += self._objects.deletes(self._prefixes(collection, other)[1])
        newest = newest_deletes(deletes)
        return [row for row in rows if newest.get(row[0], 0) <= row[1]]

    def _rows(self, collection: Collection) -> Iterator[tuple[int, int, str]]:
        for segment in collection.segments:
            for key, _, value in self._live(self._segment_rows(collection, segment), segment, collection):
                yield segment.partition, key, value

    # -- small things --------------------------------------------------------------------------------------------

    def _called(self, call: str, what: str) -> None:
        self.fault(call, what)
        self.calls.append((call, what))

    def _get(self, database: str, collection: str) -> Collection:
        found = self._find(database, collection)
        if found is None:
            raise CollectionNotFound(f"collection {database}.{collection} does not exist")
        return found

    def _find(self, database: str, name: str) -> Collection | None:
        """By its name or an alias."""
        aliased = (
            item for item in self._collections.values() if item.database == database and name in item.aliases
        )
        return self._collections.get((database, name)) or next(aliased, None)

    @staticmethod
    def _channel(collection: Collection) -> str:
        return f"{PCHANNEL}_{collection.id}v0"
