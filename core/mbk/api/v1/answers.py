"""The answers of the classic routes: zero values are omitted, except for a few fields.

See docs/reference/classic-tool.md#rest-api.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mbk.api.errors import line
from mbk.model.jobs import CollectionProgress, Job
from mbk.model.states import BackupState, CollectionState, JobState

INITIAL, EXECUTING, SUCCESS, FAIL = 0, 1, 2, 3
STATES = {
    JobState.QUEUED: INITIAL,
    JobState.RUNNING: EXECUTING,
    JobState.SUCCEEDED: SUCCESS,
    JobState.PARTIAL: FAIL,
    JobState.FAILED: FAIL,
    JobState.CANCELLED: FAIL,
    JobState.INTERRUPTED: FAIL,
}
_COLLECTION_STATES = {
    CollectionState.RUNNING: EXECUTING,
    CollectionState.DONE: SUCCESS,
    CollectionState.SALVAGED: FAIL,
    CollectionState.WRONG: FAIL,
    CollectionState.FAILED: FAIL,
    CollectionState.SKIPPED: SUCCESS,
}
_ALWAYS_SENT = {"state_code", "progress", "size", "meta_size", "has_index"}
_VERBOSE = {"schema", "index_infos", "channel_checkpoints", "properties"}
#: What the library adds to the classic view.
_LIBRARY_ONLY = {"state", "failed", "created", "pin", "locked", "started", "finished", "tool", "labels"}


def envelope(request_id: str, data: Any, *, msg: str = "success", code: int = 0) -> dict[str, Any]:
    return {"requestId": request_id} | ({"code": code} if code else {}) | {"msg": msg, "data": data}


def backup_of_job(job: Job, view: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``BackupInfoBrief`` of a job; ``view``: the backup itself, once it exists."""
    whole: dict[str, Any] = {
        "collection_backups": [_copied(item) for item in job.collections],
        "size": job.progress.bytes,
        "meta_size": 0,
        **(view or {}),
        **_task(job),
        "name": job.name,
    }
    return _shaped(whole)


def backup_of_view(view: Mapping[str, Any]) -> dict[str, Any]:
    """``BackupInfoBrief`` of a backup in the storage, whoever made it."""
    whole = {"size": 0, "meta_size": 0, "state_code": SUCCESS, "progress": 100, **view}
    whole |= {"start_time": _seconds(view.get("started")), "end_time": _seconds(view.get("finished"))}
    if view.get("state") == BackupState.INCOMPLETE:
        whole |= {"state_code": FAIL, "progress": 0, "errorMessage": "the backup is incomplete"}
    elif view.get("failed"):
        missing = "; ".join(f"{name}: {why}" for name, why in view["failed"].items())
        whole |= {"state_code": FAIL, "errorMessage": f"not in the backup: {missing}"}
    return _shaped(whole)


def shortened(brief: dict[str, Any]) -> dict[str, Any]:
    """``simpleResponse``: the collections without their verbose fields."""
    collections = [
        {key: value for key, value in item.items() if key not in _VERBOSE}
        for item in brief.get("collection_backups", ())
    ]
    return brief | ({"collection_backups": collections} if collections else {})


def restore_task(job: Job) -> dict[str, Any]:
    """``RestoreBackupTask``."""
    tasks = [_restored(job, number, item) for number, item in enumerate(job.collections)]
    return _shaped({**_task(job), "collection_restore_tasks": tasks})


def _task(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state_code": STATES[job.state],
        "errorMessage": _error(job),
        "start_time": int(job.started),
        "end_time": int(job.finished),
        "progress": 100 if job.state is JobState.SUCCEEDED else job.progress.percent,
    }


def _error(job: Job) -> str:
    if job.error is None:
        return "" if STATES[job.state] != FAIL else str(job.state)
    partial = job.state is JobState.PARTIAL
    failed = [f"{item.target}: {item.error}" for item in job.collections if item.error and partial]
    return "; ".join([line(job.error), *failed])


def _copied(item: CollectionProgress) -> dict[str, Any]:
    database, _, name = item.source.partition(".")
    return _shaped({"db_name": database, "collection_name": name, "size": item.bytes, "has_index": False})


def _restored(job: Job, number: int, item: CollectionProgress) -> dict[str, Any]:
    database, _, name = item.target.partition(".")
    return _shaped(
        {
            "id": f"{job.id}-{number}",
            "state_code": _COLLECTION_STATES.get(item.state, INITIAL),
            "errorMessage": item.error or "",
            "start_time": int(item.started),
            "end_time": int(item.finished),
            "progress": item.percent,
            "target_db_name": database,
            "target_collection_name": name,
        }
    )


def _seconds(moment: object) -> int:
    try:
        return int(datetime.fromisoformat(str(moment)).timestamp())
    except ValueError:
        return 0


def _shaped(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in whole.items()
        if key not in _LIBRARY_ONLY and (value or key in _ALWAYS_SENT)
    }
