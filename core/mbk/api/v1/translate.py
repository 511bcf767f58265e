"""From the classic bodies to the parameters of jobs."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from mbk.api.v1.bodies import CreateRequest, RestoreRequest, SecondaryRequest, chosen, filter_text, names_text
from mbk.errors import UsageError
from mbk.jobs.params import BackupParams, Params, RestoreParams, SecondaryParams
from mbk.model.options import Strategy

P = TypeVar("P", bound=Params)


def backup(body: CreateRequest) -> BackupParams:
    """`UsageError` for what cannot be meant."""
    wanted = (
        filter_text(chosen(body.filter))
        or filter_text(body.db_collections)
        or names_text(body.collection_names)
    )
    return made(
        BackupParams,
        {
            "kind": "backup",
            "name": body.backup_name,
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


def restore(body: RestoreRequest) -> RestoreParams:
    """`UsageError` for what cannot be meant."""
    if not body.backup_name:
        raise UsageError("backup_name is missing", hint="name the backup to restore")
    plan, skip = body.restore_plan, body.skip_params.model_dump(by_alias=True, exclude_defaults=True)
    source = [filter_text(body.db_collections), names_text(body.collection_names)]
    return made(
        RestoreParams,
        {
            "kind": "restore",
            "backup": body.backup_name,
            "filter": filter_text(chosen(plan.filter)) or filter_text(body.db_collections_after_rename),
            "source_filter": ",".join(filter(None, source)),
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


def secondary(body: SecondaryRequest) -> SecondaryParams:
    """`UsageError` for what is missing."""
    if not body.backup_name or not body.source_cluster_id or not body.target_cluster_id:
        raise UsageError("backup_name, sourceClusterID and targetClusterID are needed", hint="name all three")
    return made(
        SecondaryParams,
        {
            "kind": "secondary",
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
        raise UsageError(f"strategy {strategy!r} is unknown", hint=f"use one of {', '.join(Strategy)}")
    return strategy


def made(kind: type[P], values: dict[str, Any]) -> P:
    """`UsageError` says what is wrong, and repeats nothing of it."""
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise UsageError(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
