"""What a backup must hold so that a standby can be made of it. Nothing is changed here.

See docs/reference/milvus-protocol.md#replication.
"""

from __future__ import annotations

from mbk.engine.repository.timeline import flush_ticks
from mbk.errors import InvalidBackup, UsageError
from mbk.model.layout import physical_channel
from mbk.model.records import DEFAULT_DATABASE, Backup, Collection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature

_AGAIN = "back up again with --strategy bulk_flush --backup_index_extra"


def refuse(backup: Backup, milvus: Milvus, source: str, target: str) -> None:
    """`UsageError` names everything at once that stands against it."""
    if source == target:
        raise UsageError(
            "{source!r} cannot be its own standby",
            code="cannot-own-standby",
            source=source,
            hint="give two cluster ids",
        )
    if Feature.REPLICATE_STREAM not in milvus.features:
        raise UsageError(
            "restore secondary needs Milvus 2.6.11, this one is {version}",
            code="restore-secondary-needs-milvus",
            version=milvus.version,
            hint="restore without it",
        )
    problems = [
        *_root_problems(backup),
        *(line for item in backup.collection_backups for line in _problems(item)),
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UsageError(
            "backup {backup!r} cannot seed a standby: {names}{more}",
            code="backup-cannot-seed-standby",
            backup=backup.name,
            names="; ".join(problems[:3]),
            more=more,
            hint=_AGAIN,
        )
    ticks = flush_ticks(backup)
    channels = {
        physical_channel(channel)
        for record in backup.collection_backups
        for channel in record.virtual_channel_names
    }
    if missing := sorted(channels - ticks.keys()):
        raise InvalidBackup(
            "backup {backup!r} has no flush of channel {missing}",
            code="backup-flush-channel",
            backup=backup.name,
            missing=missing[0],
            hint=_AGAIN,
        )


def _root_problems(backup: Backup) -> list[str]:
    problems = []
    if backup.format == "snapshot":
        problems.append("it is a snapshot")
    if not backup.flush_all_msgs_base64:
        problems.append("it was not drawn at one flush of everything")
    if not backup.control_channel_name:
        problems.append("it does not name the control channel")
    return problems


def _problems(record: Collection) -> list[str]:
    name = f"{record.db_name or DEFAULT_DATABASE}.{record.collection_name}"
    problems = []
    if not record.virtual_channel_names or len(record.virtual_channel_names) != len(
        record.physical_channel_names
    ):
        problems.append(f"{name} lacks its channels")
    if any(not index.field_id for index in record.index_infos):
        problems.append(f"{name} lacks the numbers of its indexes")
    schema = record.schema
    if schema is None:
        problems.append(f"{name} lacks its schema")
    elif schema.enable_dynamic_field and not any(field.is_dynamic for field in schema.fields):
        problems.append(f"{name} lacks the number of its dynamic field")
    segments = [segment for part in record.partition_backups for segment in part.segment_backups]
    if any(not segment.v_channel for segment in (*segments, *record.l0_segments)):
        problems.append(f"{name} does not say which segment belongs to which channel")
    return problems


def database_ids(backup: Backup) -> dict[str, int]:
    """Name -> id, as the source had them; those of a database that only its collections tell, too."""
    ids = {item.db_name or DEFAULT_DATABASE: item.db_id for item in backup.database_backups}
    for record in backup.collection_backups:
        ids.setdefault(record.db_name or DEFAULT_DATABASE, record.db_id)
    return ids
