"""What mbk keeps beside the classic files: ``meta/mbk.json`` of a backup, the journal of a restore."""

from __future__ import annotations

from msgspec import field

from mbk.model.meta import Record


class OwnMeta(Record):
    """``meta/mbk.json``. Written first, so that the name is taken, and again just before the backup is committed.

    ``started`` and ``finished`` are RFC 3339 in UTC. ``rows``: collection id -> the rows that a query counted, only
    where the count was the same before the flush and after the copying, so that it is exact.
    ``failed``: ``db.coll`` -> why that collection is not in the backup.
    """

    version: int = 1
    tool: str = ""
    id: str = ""
    name: str = ""
    started: str = ""
    finished: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class JobNote(Record):
    """One import of a restore: its job id (empty while it is being started), whether it is known to be done, its rows."""

    job: str = ""
    done: bool = False
    rows: int = 0


class Journal(Record):
    """How far the restore of one collection has come; lies beside its staged copies until it is done.

    ``collection_id`` is the target's, 0 while it is being created. ``created`` says whether this restore made it.
    """

    version: int = 1
    backup_id: str = ""
    target: str = ""
    collection_id: int = 0
    created: bool = False
    jobs: dict[str, JobNote] = field(default_factory=dict)
