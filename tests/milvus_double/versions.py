"""What a Milvus of which version can do, as data: the table that the protocol double plays by.

Everything is said by the first version that has it (``SINCE``, ``RPC_SINCE``), so that any version can be played, not only
those of `PLAYED`. Sources: Milvus' sources, and
docs/reference/milvus-protocol.md#milvus-22-and-23 for what was met by running 2.2.16 and 2.3.5; the answers of a real
2.5.27 and a real 2.6.19 in tests/versions/recorded; the releases of milvus-io/milvus-proto (``proto/milvus.proto``,
``proto/schema.proto``) for calls and types; others are named at their line. What rests on running a server is marked
(run), everything else on reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

Version = tuple[int, int, int]

PLAYED = (
    "v2.2.16",
    "v2.3.5",
    "v2.3.22",
    "v2.4.23",
    "v2.5.8",
    "2.5.27",
    "v2.6.0",
    "2.6.19",
    "v3.0.1",
)

#: Calls that did not exist in 2.2.0. A server without a call answers UNIMPLEMENTED. ``ImportV2``-style REST is not here.
RPC_SINCE: dict[str, Version] = {
    "ListDatabases": (2, 2, 9),
    "CreateDatabase": (2, 2, 9),
    "DropDatabase": (2, 2, 9),
    "Connect": (2, 2, 9),
    "RenameCollection": (2, 2, 9),
    "ListIndexedSegment": (2, 3, 0),
    "DescribeSegmentIndexData": (2, 3, 0),
    "AllocTimestamp": (2, 2, 11),
    "Upsert": (2, 3, 0),
    "GetIndexStatistics": (2, 3, 0),
    "DescribeAlias": (2, 3, 4),
    "ListAliases": (2, 3, 4),
    "ReplicateMessage": (2, 3, 4),
    "HybridSearch": (2, 4, 0),
    "AlterIndex": (2, 3, 0),  # run: INTERNAL on 2.3.5
    "UpdateResourceGroups": (2, 4, 1),
    "DescribeDatabase": (2, 4, 3),
    "AlterDatabase": (2, 4, 3),
    "BackupRBAC": (2, 4, 10),
    "RestoreRBAC": (2, 4, 10),
    "AlterCollectionField": (2, 5, 0),
    "CreatePrivilegeGroup": (2, 5, 0),
    "DropPrivilegeGroup": (2, 5, 0),
    "ListPrivilegeGroups": (2, 5, 0),
    "OperatePrivilegeGroup": (2, 5, 0),
    "OperatePrivilegeV2": (2, 5, 0),
    "RunAnalyzer": (2, 5, 11),  # run: 2.5.27 has it
    "AddCollectionField": (2, 6, 0),
    "AddCollectionFunction": (2, 6, 3),
    "AlterCollectionFunction": (2, 6, 3),
    "DropCollectionFunction": (2, 6, 3),
    "UpdateReplicateConfiguration": (2, 6, 3),
    "GetReplicateConfiguration": (2, 6, 3),
    "GetReplicateInfo": (2, 6, 3),
    "CreateReplicateStream": (2, 6, 3),
    "TruncateCollection": (2, 6, 11),  # release notes of 2.6.11
    "AddFileResource": (2, 6, 11),
    "RemoveFileResource": (2, 6, 11),
    "ListFileResources": (2, 6, 11),
    "CreateSnapshot": (3, 0, 0),  # run: 2.6.19 has none
    "DropSnapshot": (3, 0, 0),
    "ListSnapshots": (3, 0, 0),
    "DescribeSnapshot": (3, 0, 0),
    "RestoreSnapshot": (3, 0, 0),
    "GetRestoreSnapshotState": (3, 0, 0),
    "ListRestoreSnapshotJobs": (3, 0, 0),
    "RestoreExternalSnapshot": (3, 0, 0),
    "ExportSnapshot": (3, 0, 0),
    "GetExportSnapshotState": (3, 0, 0),
    "PinSnapshotData": (3, 0, 0),
    "UnpinSnapshotData": (3, 0, 0),
    "AlterCollectionSchema": (3, 0, 0),
    "AddCollectionStructField": (3, 0, 0),
    "RefreshExternalCollection": (3, 0, 0),
    "GetRefreshExternalCollectionProgress": (3, 0, 0),
    "ListRefreshExternalCollectionJobs": (3, 0, 0),
}

#: ``ReplicateMessage`` gives the position of a replication channel in 2.5 only.
RPC_UNTIL: dict[str, Version] = {"ReplicateMessage": (2, 6, 0)}

#: Data types by number (``schema.proto``) and the first version that takes them.
TYPE_SINCE: dict[int, Version] = {
    1: (2, 2, 0),  # Bool
    2: (2, 2, 0),  # Int8
    3: (2, 2, 0),  # Int16
    4: (2, 2, 0),  # Int32
    5: (2, 2, 0),  # Int64
    10: (2, 2, 0),  # Float
    11: (2, 2, 0),  # Double
    21: (2, 2, 0),  # VarChar
    22: (2, 3, 2),  # Array; 2.2.16 has none (run)
    23: (2, 2, 9),  # JSON
    24: (2, 6, 4),  # Geometry; and in `TYPE_ALSO`
    25: (3, 0, 0),  # Text
    26: (2, 6, 6),  # Timestamptz (milvus.io/docs/timestamptz-field.md)
    100: (2, 2, 0),  # BinaryVector
    101: (2, 2, 0),  # FloatVector
    102: (2, 4, 0),  # Float16Vector
    103: (2, 4, 0),  # BFloat16Vector
    104: (2, 4, 0),  # SparseFloatVector
    105: (2, 6, 0),  # Int8Vector
    106: (2, 6, 4),  # ArrayOfVector
    200: (2, 6, 4),  # ArrayOfStruct
    201: (2, 6, 4),  # Struct
}

#: Types that came to a patch of an older line, too, and until which version that line goes (run: 2.5.27 takes Geometry; the
#: first patch that does is not known).
TYPE_ALSO: dict[int, tuple[Version, Version]] = {24: ((2, 5, 27), (2, 6, 0))}

#: Feature -> the first version that has it. The names are attributes of `ServerVersion`.
SINCE: dict[str, Version] = {
    "databases": (2, 2, 9),
    "dynamic_field": (2, 2, 9),
    "partition_key": (2, 2, 9),
    "count": (2, 3, 0),  # count(*) (run: 2.2.16 has none)
    # A flush also writes the deletes of segments that were flushed before; 2.2.16 does not (run).
    "flush_persists_deletes": (2, 3, 0),
    # Imports compare the times of deletes and rows: milvus issue 29162, PR 29176 of December 2023 (run: 2.2.16 does not,
    # 2.3.5 does; the release between them is read).
    "imports_by_delete_time": (2, 3, 4),
    # FlushResponse.coll_flush_ts (run: 2.2.16 sends none, 2.3.5 does).
    "flush_ts": (2, 3, 0),
    # FlushResponse.channel_cps: milvus PR 32044 of April 2024; the one for an older line, 32721, was not merged.
    "channel_cps": (2, 4, 1),
    # import v2 in DataCoord, with `skip_disk_quota_check`, L0 imports, and strict checks.
    "import_v2": (2, 4, 0),
    "l0_segments": (2, 4, 0),
    "l0_import_disabled": (3, 0, 0),  # dataCoord.import.enableL0Import=false (run: 3.0.0)
    "segment_level": (2, 4, 0),  # GetPersistentSegmentInfo.level
    "several_vectors": (2, 4, 0),
    "analyzers": (2, 5, 0),
    "clustering_key": (2, 4, 7),
    "database_properties": (2, 4, 3),
    "describe_database": (2, 4, 3),
    "rbac_backup": (2, 4, 10),
    "rest_v2": (2, 4, 0),  # run: 404 on 2.3.5
    "gc_pause": (2, 4, 0),  # /management/datacoord/garbage_collection/*; run: 404 on 2.3.5
    "nullable": (2, 5, 0),
    "nullable_vectors": (2, 6, 16),  # new in 3.0, and backported by milvus PR 49520, after 2.6.15
    "nullable_structs": (3, 0, 0),  # the documentation of 3.0 says: only there
    "default_values": (2, 3, 0),  # run: 2.3.5 keeps them
    "delete_keys": (2, 5, 0),  # of properties; older servers do not see them
    "functions": (2, 5, 0),  # BM25
    "text_embedding": (2, 6, 0),
    "minhash": (3, 0, 0),  # milvus.io/docs/minhash-function.md
    "json_path_index": (2, 5, 4),
    "schema_properties": (2, 5, 0),  # DescribeCollection also fills schema.properties
    "segment_is_sorted": (2, 5, 0),  # GetPersistentSegmentInfo.is_sorted
    "import_fills_missing_columns": (
        2,
        5,
        8,
    ),  # nullable and default-valued fields
    "segment_detail": (2, 5, 8),  # POST /v2/vectordb/segments/describe
    "segment_storage_version": (2, 6, 0),  # GetPersistentSegmentInfo.storage_version
    # GetPersistentSegmentInfo.insert_channel and compaction_from, by the protocol of 3.0 (whether filled: not certain).
    "segment_channel": (3, 0, 0),
    "packed_segments": (2, 6, 0),  # storage version 2 is written and imported
    "add_field": (2, 6, 0),
    # The server's own property in DescribeCollection (milvus#48988; run: 2.6.19 has none).
    "max_field_id": (3, 0, 0),
    # A property of every collection, which came with Timestamptz (run: 2.6.19).
    "timezone": (2, 6, 6),
    "struct_arrays": (2, 6, 4),
    "encryption": (2, 6, 0),
    "multi_l0_import": (2, 6, 5),
    "collection_gc_pause": (2, 6, 8),
    # The log gives rows their times, in the order in which it takes them; before, a proxy gives a row its time first and its
    # segment later (milvus: internal/proxy/task_insert.go).
    "streaming": (2, 6, 0),
    "function_check_switch": (2, 6, 8),
    "flush_all_messages": (2, 6, 11),  # FlushAllResponse.flush_all_msgs, cluster_info
    "l0_import_race_fixed": (2, 6, 12),  # milvus#48114
    "external_collections": (3, 0, 0),
    "two_phase_import": (3, 0, 0),
    # Storage version 3, with ``common.storage.useLoonFFI`` or a field of Text alone (run: 3.0.0 writes 2 by itself).
    "manifest_segments": (3, 0, 0),
    "snapshots": (3, 0, 0),
    "exported_snapshots": (3, 0, 0),
    # -- how answers are worded (run: 2.5.27 and 2.6.19; the first patch that does so is not known, only its line) -----
    "bare_version": (2, 5, 0),  # "2.5.27", where 2.4 says "v2.4.23"
    "fields_are_named": (2, 5, 0),  # refusals of schemas say which field
    "missing_by_old_code": (2, 5, 0),  # DescribeCollection of what is not there: code 0, CollectionNotExists
    "names_checked_first": (
        2,
        5,
        0,
    ),  # RenameCollection looks whether the new name is free, then for the old one
    "query_errors_coded": (2, 5, 0),  # wrong expressions have code 1100
    "update_timestamps": (2, 5, 0),
    "built_in_groups": (2, 5, 0),  # ListPrivilegeGroups lists them
    "segments_sorted": (2, 5, 0),  # a flushed segment is replaced by a sorted one within seconds
    "flush_limited": (2, 4, 0),  # quotaAndLimits.flushRate.collection.max: 0.1 (milvus: configs/milvus.yaml)
    "imports_broadcast": (2, 6, 0),  # by the streaming service, whose words stand before a refusal
    "input_errors": (2, 6, 19),  # nearly every refusal has code 1100, and says that the input is wrong
    "collections_have_shards": (2, 6, 0),  # ShowCollections.shards_num
    "schema_says_database": (2, 6, 0),
}

#: ``end_ts`` is a hybrid timestamp in these ranges, physical milliseconds elsewhere: milvus PRs 40332, 40333, 40334.
HYBRID_END_TS: tuple[tuple[Version, Version], ...] = (((2, 4, 23), (2, 5, 0)), ((2, 5, 6), (99, 0, 0)))

MANY = 1024
FAR: Version = (99, 0, 0)


@dataclass(frozen=True)
class ServerVersion:
    """One version, asked in words: ``version.has("l0_segments")``, ``version.implements("Upsert")``."""

    name: str
    number: Version
    git_commit: str = "0123abc"

    def has(self, feature: str) -> bool:
        return self.number >= SINCE[feature]

    def implements(self, rpc: str) -> bool:
        if rpc in RPC_UNTIL and self.number >= RPC_UNTIL[rpc]:
            return False
        return self.number >= RPC_SINCE.get(rpc, (2, 2, 0))

    def knows_type(self, data_type: int) -> bool:
        low, high = TYPE_ALSO.get(data_type, (FAR, FAR))
        return low <= self.number < high or self.number >= TYPE_SINCE.get(data_type, FAR)

    @cached_property
    def hybrid_end_ts(self) -> bool:
        return any(low <= self.number < high for low, high in HYBRID_END_TS)

    @property
    def storage_version(self) -> int:
        """The layout of the segments that it writes by itself: 1, 2 from 2.6 on."""
        return 2 if self.has("packed_segments") else 1

    @property
    def max_l0_files(self) -> int:
        """L0 segments an import job."""
        return MANY if self.has("multi_l0_import") else int(self.has("l0_segments"))

    @property
    def max_import_files(self) -> int:
        return MANY

    @property
    def max_vector_fields(self) -> int:
        """1 before 2.4; proxy.maxVectorFieldNum is 4, 10 at most, then."""
        return 4 if self.has("several_vectors") else 1


def server_version(name: str) -> ServerVersion:
    """``v2.5.8``, also without "v", or with a tag behind (``v2.3.5-lite``); its name is as such a server reports it."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", name)
    if found is None:
        raise ValueError(f"{name!r} is no version of Milvus")
    number = (int(found[1]), int(found[2]), int(found[3]))
    bare = name.removeprefix("v")
    return ServerVersion(bare if number >= SINCE["bare_version"] else f"v{bare}", number)
