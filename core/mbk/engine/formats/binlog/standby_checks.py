"""Checks whether a backup can seed a standby. Changes nothing.

See docs/reference/milvus-protocol.md#replication.
"""

from __future__ import annotations

from mbk.engine.repository.timeline import flush_ticks
from mbk.errors import InvalidBackup, UsageError
from mbk.model.layout import physical_channel
from mbk.model.records import DEFAULT_DATABASE, Backup, Collection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature

_BACK_UP_AGAIN = "back up again with --strategy bulk_flush --backup_index_extra"


def refuse(backup: Backup, milvus: Milvus, source: str, target: str) -> None:
    """`UsageError` names all reasons at once."""
    if source == target:
        raise UsageError(
            "{cluster!r} cannot be its own standby",
            code="standby-is-source",
            cluster=source,
            hint="give two different cluster ids",
        )
    if Feature.REPLICATE_STREAM not in milvus.features:
        raise UsageError(
            "restore secondary needs Milvus 2.6.11, this server is {version}",
            code="standby-unsupported",
            version=milvus.version,
            hint="use mbk restore instead",
        )
    problems = [
        *_root_problems(backup),
        *(problem for item in backup.collection_backups for problem in _problems(item)),
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UsageError(
            "backup {backup!r} cannot seed a standby: {reason}{more}",
            code="standby-seed-unfit",
            backup=backup.name,
            reason="; ".join(problems[:3]),
            more=more,
            hint=_BACK_UP_AGAIN,
        )
    ticks = flush_ticks(backup)
    channels = {
        physical_channel(channel)
        for record in backup.collection_backups
        for channel in record.virtual_channel_names
    }
    if missing := sorted(channels - ticks.keys()):
        raise InvalidBackup(
            "backup {backup!r} does not record the flush of channel {channel}",
            code="channel-flush-missing",
            backup=backup.name,
            channel=missing[0],
            hint=_BACK_UP_AGAIN,
        )


def _root_problems(backup: Backup) -> list[str]:
    problems = []
    if backup.format == "snapshot":
        problems.append("it is a snapshot")
    if not backup.flush_all_msgs_base64:
        problems.append("its collections were not flushed at one point")
    if not backup.control_channel_name:
        problems.append("it does not record the control channel")
    return problems


def _problems(record: Collection) -> list[str]:
    name = f"{record.db_name or DEFAULT_DATABASE}.{record.collection_name}"
    problems = []
    if not record.virtual_channel_names or len(record.virtual_channel_names) != len(
        record.physical_channel_names
    ):
        problems.append(f"it does not record the channels of {name}")
    if any(not index.field_id for index in record.index_infos):
        problems.append(f"it does not record the index ids of {name}")
    schema = record.schema
    if schema is None:
        problems.append(f"it does not record the schema of {name}")
    elif schema.enable_dynamic_field and not any(field.is_dynamic for field in schema.fields):
        problems.append(f"it does not record the id of the dynamic field of {name}")
    segments = [segment for part in record.partition_backups for segment in part.segment_backups]
    if any(not segment.v_channel for segment in (*segments, *record.l0_segments)):
        problems.append(f"it does not record the channels of the segments of {name}")
    return problems


def database_ids(backup: Backup) -> dict[str, int]:
    """Name -> id in the source, including databases that are recorded only in their collections."""
    ids = {item.db_name or DEFAULT_DATABASE: item.db_id for item in backup.database_backups}
    for record in backup.collection_backups:
        ids.setdefault(record.db_name or DEFAULT_DATABASE, record.db_id)
    return ids
