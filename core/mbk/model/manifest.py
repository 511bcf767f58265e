"""mbk's own files beside the classic ones: the manifest ``meta/mbk.json`` of a backup, the journal of a restore."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import field

from mbk.model.records import Record

#: Values of `Protection.boundary`.
ALL = "all"
OWN = "own"
NONE = "none"

#: Values of `Manifest.command`; empty means `CREATE`.
CREATE = "create"
L0COMPACT = "l0compact"
COPY = "copy"


def now() -> str:
    """The time in the form of these records: RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Protection(Record):
    """How a collection was protected during the backup.

    ``boundary``: the scope of its consistency point, `ALL` (one flush of all collections), `OWN` or `NONE`; ``at`` its time,
    RFC 3339 in UTC. ``gc_paused``: garbage collection was paused from before its segments were listed until they were
    copied.
    """

    boundary: str = NONE
    at: str = ""
    gc_paused: bool = False


class Manifest(Record):
    """``meta/mbk.json``. Written first, to reserve the name, and again just before the backup is committed.

    ``started`` and ``finished`` are RFC 3339 in UTC. ``rows``: collection id -> the rows that a query counted, if the
    count was the same before the flush and after copying, and so is exact.
    ``protection`` is by collection id, too. ``failed``: ``db.coll`` -> why that collection is not in the backup.
    ``format`` as in `BackupHead`; ``snapshots``: ``db.coll`` that Milvus may still keep a snapshot of.
    ``command``: what made the backup, from ``source``, the name or location of another backup; once complete, a copy has
    the values of its source.
    """

    version: int = 1
    tool: str = ""
    id: str = ""
    name: str = ""
    started: str = ""
    finished: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    protection: dict[str, Protection] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    format: str = ""
    snapshots: list[str] = field(default_factory=list)
    command: str = ""
    source: str = ""

    def remedy(self, name: str) -> str:
        """How to complete the backup ``name``, which was never committed."""
        if self.command == L0COMPACT:
            return f"start over: mbk l0compact -n {self.source} -o {name} --force"
        if self.command == COPY:
            return f"copy it again from {self.source}"
        return f"finish it: mbk create -n {name} --resume"


class JobNote(Record):
    """One import of a restore: its job id (empty while it is being started), whether it is done, its rows.

    ``segments``: the ids of the segments in it.
    """

    job: str = ""
    done: bool = False
    rows: int = 0
    segments: list[int] = field(default_factory=list)


class Loaded(Record):
    """How a collection was loaded before it had to be released; ``partitions`` empty: all."""

    replicas: int = 1
    partitions: list[str] = field(default_factory=list)


class Journal(Record):
    """The progress of one collection's restore; stored beside its staged copies until it is done.

    ``collection_id`` is the target's, 0 while it is being created. ``created``: whether this restore created it.
    ``released``: it was loaded, and must be loaded again.
    """

    version: int = 2
    backup_id: str = ""
    target: str = ""
    collection_id: int = 0
    created: bool = False
    jobs: dict[str, JobNote] = field(default_factory=dict)
    released: Loaded | None = None
