"""The request bodies of the classic routes, in all their spellings. Unknown keys and nulls are ignored, as in Go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mbk.errors import UsageError
from mbk.model.records import DEFAULT_DATABASE

Names = list[str]
#: Marked in the API description; classic clients that still send it get no warning.
OLD: dict[str, Any] = {"deprecated": True}


class Chosen(BaseModel):
    """The collections of one database in a filter; ``["*"]`` is all of them, ``[]`` none: the database alone."""

    colls: Names = []


class ClassicBody(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _as_go_reads(cls, value: Any) -> Any:
        """Ignores the case of keys that have no exact match; null means omitted."""
        if not isinstance(value, Mapping):
            return value
        keys = {field.alias or name for name, field in cls.model_fields.items()}
        lowered = {key.lower(): key for key in keys}
        body: dict[str, Any] = {}
        for key, item in value.items():
            name = str(key) if key in keys else lowered.get(str(key).lower(), str(key))
            if item is not None and (key in keys or name not in value):
                body[name] = item
        return body


class ByDatabase(ClassicBody):
    """``db_collections``: an object, or its JSON text."""

    @staticmethod
    def parsed(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return json.loads(value) if value.strip() else {}
            except ValueError as exc:
                raise ValueError("is not a JSON object that maps databases to collections") from exc
        return value


class CreateRequest(ByDatabase):
    request_id: str = Field("", alias="requestId", description="becomes the backup's id")
    backup_name: str = Field("", description="empty: a name made from the time")
    run_async: bool = Field(
        False, alias="async", description="answer at once, ask get_backup for the progress"
    )
    filter: dict[str, Chosen] = Field({}, description='{"db": {"colls": ["*"]}}')
    strategy: str = Field("", description="auto, meta_only, skip_flush, bulk_flush or serial_flush")
    format: str = Field("", description="auto, binlog or snapshot")
    rbac: bool = False
    with_index_extra: bool = False
    gc_pause_enable: bool | None = None
    gc_pause_address: str = ""
    backup_root_path: str = ""
    collection_names: Names = Field([], json_schema_extra=OLD)
    db_collections: dict[str, Names | None] = Field({}, json_schema_extra=OLD)
    force: bool = Field(False, json_schema_extra=OLD, description="strategy skip_flush")
    meta_only: bool = Field(False, json_schema_extra=OLD, description="strategy meta_only")
    gc_pause_seconds: int = Field(0, json_schema_extra=OLD)

    @field_validator("db_collections", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return cls.parsed(value)


class SkipParams(ClassicBody):
    collection_properties: Names = Field([], alias="collectionProperties")
    field_index_params: Names = Field([], alias="fieldIndexParams")
    field_type_params: Names = Field([], alias="fieldTypeParams")
    index_params: Names = Field([], alias="indexParams")


class RestorePlan(ClassicBody):
    mapping: list[dict[str, Any]] = []
    filter: dict[str, Chosen] = {}


class RestoreRequest(ByDatabase):
    request_id: str = Field("", alias="requestId")
    id: str = Field("", description="the task's id, for get_restore; empty: generated")
    backup_name: str = ""
    collection_names: Names = Field([], description="names in the backup")
    collection_suffix: str = ""
    collection_renames: dict[str, str] = {}
    db_collections: dict[str, Names | None] = Field({}, description="names in the backup")
    db_collections_after_rename: dict[str, Names | None] = {}
    run_async: bool = Field(
        False, alias="async", description="answer at once, ask get_restore for the progress"
    )
    bucket_name: str = ""
    path: str = ""
    meta_only: bool = Field(False, alias="metaOnly")
    restore_index: bool = Field(False, alias="restoreIndex")
    use_auto_index: bool = Field(False, alias="useAutoIndex")
    drop_exist_collection: bool = Field(False, alias="dropExistCollection")
    drop_exist_index: bool = Field(False, alias="dropExistIndex")
    skip_create_collection: bool = Field(False, alias="skipCreateCollection")
    skip_import_disk_quota_check: bool = Field(False, alias="skipImportDiskQuotaCheck", json_schema_extra=OLD)
    rbac: bool = False
    max_shard_num: int = Field(0, alias="maxShardNum")
    skip_params: SkipParams = Field(SkipParams(), alias="skipParams")
    use_v2_restore: bool = Field(False, alias="useV2Restore")
    truncate_binlog_by_ts: bool = Field(False, alias="truncateBinlogByTs")
    restore_plan: RestorePlan = Field(RestorePlan(), alias="restorePlan")
    ezk_mapping: dict[str, str] = Field({}, alias="ezkMapping")

    @field_validator("db_collections", "db_collections_after_rename", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return cls.parsed(value)


class SecondaryRequest(ClassicBody):
    request_id: str = Field("", alias="requestId")
    backup_name: str = ""
    source_cluster_id: str = Field("", alias="sourceClusterID")
    target_cluster_id: str = Field("", alias="targetClusterID")
    run_async: bool = Field(False, alias="async")
    path: str = ""


def by_database(chosen: Mapping[str, Names | None]) -> dict[str, Names]:
    """``db_collections`` as a filter by database; an empty list is the whole database, ``""`` the default one."""
    return {database or DEFAULT_DATABASE: list(names or ["*"]) for database, names in chosen.items()}


def by_name(names: Iterable[str]) -> dict[str, Names]:
    """The same from a list of ``coll`` and ``db.coll``."""
    databases: dict[str, Names] = {}
    for name in map(str.strip, names):
        head, dot, _ = name.partition("/")[0].partition(".")
        database, rest = (head, name[len(head) + 1 :]) if dot else (DEFAULT_DATABASE, name)
        if not name:
            raise UsageError(
                "collection_names has an empty name", code="collection-name-empty", hint="remove it"
            )
        databases.setdefault(database, []).append(rest)
    return databases


def merged(*filters: Mapping[str, Names]) -> dict[str, Names]:
    """The union of the filters."""
    databases = dict.fromkeys(database for chosen in filters for database in chosen)
    return {name: [item for chosen in filters for item in chosen.get(name, ())] for name in databases}


def chosen(filter_: Mapping[str, Chosen]) -> dict[str, Names]:
    """``filter`` by database; an empty list is the database without collections, ``""`` the default one."""
    return {database or DEFAULT_DATABASE: item.colls or [""] for database, item in filter_.items()}
