"""From the classic bodies to the parameters of jobs."""

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
    """`UsageError` for what cannot be meant."""
    wanted = (
        by_database(chosen(body.filter)) or by_database(body.db_collections) or by_name(body.collection_names)
    )
    return made(
        "backup",
        {
            "name": body.backup_name or default_name(),
            "filter": wanted,
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
    """`UsageError` for what cannot be meant."""
    if not body.backup_name:
        raise UsageError(
            "backup_name is missing", code="backupname-missing", hint="name the backup to restore"
        )
    plan, skip = body.restore_plan, body.skip_params.model_dump(by_alias=True, exclude_defaults=True)
    return made(
        "restore",
        {
            "backup": body.backup_name,
            "filter": by_database(chosen(plan.filter)) or by_database(body.db_collections_after_rename),
            "source_filter": merged(by_database(body.db_collections), by_name(body.collection_names)),
            "suffix": body.collection_suffix,
            "rename": body.collection_renames,
            "mapping": plan.mapping,
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
    """`UsageError` for what is missing."""
    if not body.backup_name or not body.source_cluster_id or not body.target_cluster_id:
        raise UsageError(
            "backup_name, sourceClusterID and targetClusterID are needed",
            code="backupname-sourceclusterid-targetclusterid-needed",
            hint="name all three",
        )
    return made(
        "secondary",
        {
            "backup": body.backup_name,
            "source_cluster": body.source_cluster_id,
            "target_cluster": body.target_cluster_id,
            "path": body.path,
        },
    )


def _strategy(body: CreateRequest) -> str:
    old = {str(Strategy.SKIP_FLUSH): body.force, str(Strategy.META_ONLY): body.meta_only}
    asked = [name for name, is_asked in old.items() if is_asked] or ["auto"]
    strategy = body.strategy or asked[-1]
    if strategy not in [str(item) for item in Strategy]:
        raise UsageError(
            "strategy {strategy!r} is unknown",
            code="strategy-unknown",
            strategy=strategy,
            names=", ".join(Strategy),
            hint="use one of {names}",
        )
    return strategy
