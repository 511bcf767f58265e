"""The records of a backup's metadata files, field by field as the classic tool writes them.

See docs/reference/backup-format.md#full_metajson.

Zero values are left out when encoding, except the fields that the format always carries: those are declared with
:func:`_always`, whose default factory msgspec does not compare against. Unknown keys are ignored when decoding.
Integers are exact 64-bit. The records are mutable while a backup is being made and never shared after that.

Only this module and :mod:`mbk.model.manifest` of the model need a library: msgspec decodes and checks a million records
in seconds and in a quarter of the memory of dictionaries.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import field

DEFAULT_DATABASE = "default"
ALL_PARTITIONS = -1

NOT_LOADED = "NotLoad"
LOADING = "Loading"
LOADED = "Loaded"


class Record(msgspec.Struct, omit_defaults=True, gc=False, kw_only=True):
    pass


def _always(kind: type[Any]) -> Any:
    """A field that is written even when zero."""
    return field(default_factory=lambda: kind())


class KeyValue(Record):
    key: str = ""
    value: str = ""


class FieldSchema(Record):
    field_id: int = field(default=0, name="fieldID")
    name: str = ""
    is_primary_key: bool = False
    description: str = ""
    data_type: int = 0
    type_params: list[KeyValue] = []
    index_params: list[KeyValue] = []
    auto_id: bool = field(default=False, name="autoID")
    state: int = 0
    element_type: int = 0
    is_dynamic: bool = False
    is_partition_key: bool = False
    nullable: bool = False
    is_function_output: bool = False
    #: Legacy, read only: raw bytes of a ``schemapb.ValueField`` in a JSON string.
    default_value_proto: str = ""
    #: base64 of a ``schemapb.ValueField``; authoritative when not empty.
    default_value_base64: str = ""
    #: From here on mbk's extra keys, which the classic tool ignores (docs/reference/backup-format.md#extra-keys).
    is_clustering_key: bool = False
    element_nullable: bool = False
    external_field: str = ""


class StructArrayFieldSchema(Record):
    field_id: int = field(default=0, name="fieldID")
    name: str = ""
    description: str = ""
    fields: list[FieldSchema] = []
    #: mbk's extra keys, as those of a field.
    type_params: list[KeyValue] = []
    nullable: bool = False


class FunctionSchema(Record):
    name: str = ""
    id: int = 0
    description: str = ""
    type: int = 0
    input_field_names: list[str] = []
    input_field_ids: list[int] = []
    output_field_names: list[str] = []
    output_field_ids: list[int] = []
    params: list[KeyValue] = []


class CollectionSchema(Record):
    name: str = ""
    description: str = ""
    auto_id: bool = field(default=False, name="autoID")
    fields: list[FieldSchema] = []
    enable_dynamic_field: bool = False
    properties: list[KeyValue] = []
    functions: list[FunctionSchema] = []
    struct_array_fields: list[StructArrayFieldSchema] = []
    #: mbk's extra keys, as those of a field. ``version`` counts the changes of the source's schema.
    version: int = 0
    enable_namespace: bool = False
    do_physical_backfill: bool = False
    file_resource_ids: list[int] = []


class IndexInfo(Record):
    field_name: str = ""
    index_name: str = ""
    index_type: str = ""
    params: dict[str, str] = {}
    index_id: int = 0
    field_id: int = 0
    create_time: int = 0
    type_params: list[KeyValue] = []
    index_params: list[KeyValue] = []
    user_index_params: list[KeyValue] = []
    is_auto_index: bool = False
    min_index_version: int = 0
    max_index_version: int = 0


class Binlog(Record):
    #: The key under which Milvus had the object; never the key inside the backup.
    log_path: str = ""
    log_size: int = _always(int)
    log_id: int = 0


class FieldBinlog(Record):
    field_id: int = field(default=0, name="fieldID")
    binlogs: list[Binlog] = []


class SegmentHead(Record):
    """A segment without its file lists: all that a restore needs, small enough for a million of them."""

    segment_id: int = 0
    collection_id: int = 0
    partition_id: int = 0
    num_of_rows: int = 0
    size: int = _always(int)
    group_id: int = 0
    is_l0: bool = False
    v_channel: str = ""
    storage_version: int = 0


class Segment(SegmentHead):
    binlogs: list[FieldBinlog] = []
    deltalogs: list[FieldBinlog] = []


class PartitionHead(Record):
    partition_id: int = 0
    partition_name: str = ""
    collection_id: int = 0
    size: int = _always(int)
    load_state: str = ""


class SnapshotBackup(Record):
    metadata_path: str = ""
    total_files: int = 0
    total_bytes: int = 0


class CollectionHead(Record):
    """A collection without partitions and segments."""

    id: str = ""
    collection_id: int = 0
    db_name: str = ""
    collection_name: str = ""
    schema: CollectionSchema | None = None
    shards_num: int = 0
    consistency_level: int = 0
    #: Hybrid timestamp: the largest channel checkpoint. Other meanings in older backups
    #: (docs/reference/backup-format.md#older-backups).
    backup_timestamp: int = 0
    size: int = _always(int)
    has_index: bool = _always(bool)
    index_infos: list[IndexInfo] = []
    load_state: str = ""
    #: Unix seconds.
    backup_physical_timestamp: int = 0
    #: vchannel -> base64 of a ``msgpb.MsgPosition``.
    channel_checkpoints: dict[str, str] = {}
    properties: list[KeyValue] = []
    db_id: int = 0
    created_timestamp: int = 0
    virtual_channel_names: list[str] = []
    physical_channel_names: list[str] = []
    aliases: list[str] = []
    snapshot_backup: SnapshotBackup | None = None
    #: mbk's extra keys, as those of a field: how the collection was loaded, and when it was last changed.
    replica_number: int = 0
    resource_groups: list[str] = []
    update_timestamp: int = 0


class Partition(PartitionHead):
    """A partition as a reader needs it: segments without file lists."""

    segment_backups: list[SegmentHead] = []


class Collection(CollectionHead):
    partition_backups: list[Partition] = []
    l0_segments: list[SegmentHead] = []


class Database(Record):
    db_name: str = ""
    db_id: int = 0
    properties: list[KeyValue] = []
    ezk: str = ""

    def __repr__(self) -> str:
        return f"Database(db_name={self.db_name!r}, db_id={self.db_id})"


class Name(Record):
    name: str = ""


class RbacUser(Record):
    user: str = ""
    #: The hash as the server returned it; a secret.
    password: str = ""
    roles: list[Name] = []

    def __repr__(self) -> str:
        return f"RbacUser(user={self.user!r})"


class RbacGrantor(Record):
    user: Name | None = None
    privilege: Name | None = None


class RbacGrant(Record):
    role: Name | None = None
    object: Name | None = None
    object_name: str = ""
    grantor: RbacGrantor | None = None
    db_name: str = ""


class PrivilegeGroup(Record):
    group_name: str = ""
    privileges: list[Name] = []


class Rbac(Record):
    users: list[RbacUser] = []
    roles: list[Name] = []
    grants: list[RbacGrant] = []
    privilege_groups: list[PrivilegeGroup] = []


class RpcChannel(Record):
    name: str = ""
    position: str = ""


class BackupHead(Record):
    """``backup_meta.json``: what a listing shows."""

    id: str = ""
    state_code: int = _always(int)
    name: str = ""
    #: Old writers: unix milliseconds. Current ones leave it out.
    backup_timestamp: int = 0
    size: int = _always(int)
    milvus_version: str = ""
    format: str = ""


class Mark(Record):
    """mbk's mark in ``full_meta.json``: which manifest and which record of objects belong to it.

    ``record``: SHA-256 of the record file. ``objects``: how many objects it names. ``failed`` as in the manifest.
    """

    commit: str = ""
    record: str = ""
    objects: int = 0
    failed: dict[str, str] = {}


class BackupExtras(BackupHead):
    """The root of ``full_meta.json`` without its collections."""

    rbac_meta: Rbac | None = None
    rpc_channel_info: RpcChannel | None = None
    database_backups: list[Database] = []
    flush_all_msgs_base64: dict[str, str] = {}
    control_channel_name: str = ""
    physical_channel_names: list[str] = []
    #: mbk's extra key, as those of a field.
    mbk: Mark | None = None


class Backup(BackupExtras):
    """``full_meta.json`` as a reader needs it."""

    collection_backups: list[Collection] = []


def key_values(pairs: dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in pairs.items()]


def as_dict(pairs: list[KeyValue]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}
