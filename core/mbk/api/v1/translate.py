"""Translates the classic bodies to job parameters."""

from __future__ import annotations

from mbk.api.v1.bodies import (
    CreateRequest,
    RestoreRequest,
    SecondaryRequest,
    by_database,
    by_name,
    chosen,
    merged,
)
from mbk.errors import UsageError
from mbk.jobs.params import Params, made
from mbk.model.options import Strategy
from mbk.model.reports import default_name


def backup(body: CreateRequest) -> Params:
    """Raises `UsageError` for contradictory or invalid fields."""
    selected = chosen(body.filter) or by_database(body.db_collections) or by_name(body.collection_names)
    return made(
        "backup",
        {
            "name": body.backup_name or default_name(),
            "filter": selected or None,
            "strategy": _strategy(body),
            "format": body.format or "auto",
            "rbac": body.rbac,
            "index_extra": body.with_index_extra,
            "pause_gc": body.gc_pause_enable,
            "fail_fast": False,
            "path": body.backup_root_path,
        },
    )


def restore(body: RestoreRequest) -> Params:
    """Raises `UsageError` for contradictory or invalid fields."""
    if not body.backup_name:
        raise missing("backup_name")
    plan, skip = body.restore_plan, body.skip_params.model_dump(by_alias=True, exclude_defaults=True)
    return made(
        "restore",
        {
            "backup": body.backup_name,
            "filter": chosen(plan.filter) or by_database(body.db_collections_after_rename) or None,
            "source_filter": merged(by_database(body.db_collections), by_name(body.collection_names)) or None,
            "suffix": body.collection_suffix,
            "rename": body.collection_renames or None,
            "mapping": plan.mapping or None,
            "drop_existing": body.drop_exist_collection,
            "skip_create": body.skip_create_collection,
            "meta_only": body.meta_only,
            "rebuild_index": body.restore_index,
            "auto_index": body.use_auto_index,
            "drop_index": body.drop_exist_index,
            "rbac": body.rbac,
            "truncate": body.truncate_binlog_by_ts,
            "rest_import": True if body.use_v2_restore else None,
            "max_shards": body.max_shard_num,
            "skip_params": skip,
            "ezk_mapping": body.ezk_mapping,
            "path": body.path,
            "bucket": body.bucket_name,
        },
    )


def secondary(body: SecondaryRequest) -> Params:
    """Raises `UsageError` for missing fields."""
    required = {
        "backup_name": body.backup_name,
        "sourceClusterID": body.source_cluster_id,
        "targetClusterID": body.target_cluster_id,
    }
    if absent := [name for name, value in required.items() if not value]:
        raise missing(", ".join(absent))
    return made(
        "secondary",
        {
            "backup": body.backup_name,
            "source_cluster": body.source_cluster_id,
            "target_cluster": body.target_cluster_id,
            "path": body.path,
        },
    )


def missing(fields: str) -> UsageError:
    """A request without a field that it needs."""
    return UsageError("the request lacks {fields}", code="request-fields-missing", fields=fields)


def _strategy(body: CreateRequest) -> str:
    old = {str(Strategy.SKIP_FLUSH): body.force, str(Strategy.META_ONLY): body.meta_only}
    flags = [name for name, is_set in old.items() if is_set] or ["auto"]
    strategy = body.strategy or flags[-1]
    if strategy not in [str(item) for item in Strategy]:
        raise UsageError(
            "unknown strategy {strategy!r}",
            code="strategy-unknown",
            strategy=strategy,
            choices=", ".join(Strategy),
            hint="use one of {choices}",
        )
    return strategy
