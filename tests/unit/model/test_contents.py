"""What a program reads of a backup, from the document that `mbk get` prints."""

from __future__ import annotations

from datetime import UTC, datetime

from mbk.model.contents import BackupInfo
from mbk.model.states import BackupState

DOCUMENT = {
    "name": "nightly",
    "id": "1",
    "state": "partial",
    "size": 30,
    "created": "2026-01-02T03:04:05+00:00",
    "failed": {"db.b": "refused"},
    "database_backups": [{"db_name": "db"}],
    "collection_backups": [
        {
            "collection_name": "a",
            "collection_id": 7,
            "schema": {"fields": [{"name": "id"}, {"name": "vector"}]},
            "index_infos": [{"field_name": "vector", "params": {"index_type": "HNSW", "M": 8}}],
            "partition_backups": [
                {
                    "partition_name": "_default",
                    "segment_backups": [{"num_of_rows": 3}, {"num_of_rows": 2, "is_l0": True}],
                }
            ],
            "protection": {"boundary": "all", "at": "", "gc_paused": True},
        }
    ],
}


def test_a_document_becomes_values_and_is_kept_as_it_is() -> None:
    info = BackupInfo.of(DOCUMENT)
    (collection,) = info.collections
    (index,), (partition,) = collection.indexes, collection.partitions
    assert (info.state, info.databases, info.failed) == (BackupState.PARTIAL, ("db",), {"db.b": "refused"})
    assert info.created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert info.finished is None
    assert (collection.database, collection.name, collection.fields) == ("default", "a", ("id", "vector"))
    assert (index.field, index.type, index.params["M"]) == ("vector", "HNSW", "8")
    assert (partition.name, partition.segments, partition.rows) == ("_default", 2, 3)
    assert collection.protection is not None
    assert info.document is DOCUMENT


def test_of_a_backup_that_was_never_committed_little_is_known() -> None:
    info = BackupInfo.of({"name": "begun", "state": "incomplete", "created": "", "reason": "resume it"})
    assert (info.state, info.reason, info.created) == (BackupState.INCOMPLETE, "resume it", None)
    assert info.collections == ()
