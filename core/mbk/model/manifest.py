"""mbk's own files beside the classic ones: the manifest ``meta/mbk.json`` of a backup, the journal of a restore."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import field, structs

from mbk.model.layout import FULL_META, is_record
from mbk.model.records import Record

#: Values of `Protection.boundary`.
ALL = "all"
OWN = "own"
NONE = "none"

#: The format of a backup whose objects lie in the pool. The classic tool refuses a format that it does not know, instead of
#: restoring a backup without data.
SHARED = "shared"

#: Values of `Manifest.command`; empty means `CREATE`.
CREATE = "create"
L0COMPACT = "l0compact"
COPY = "copy"
#: Of a backup without a manifest, which is being deleted.
DELETE = "delete"


def now() -> str:
    """The time in the form of these records: RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Protection(Record):
    """How a collection was protected during the backup.

    ``boundary``: the scope of its consistency point, `ALL` (one flush of all collections), `OWN` or `NONE`; ``at`` its time,
    RFC 3339 in UTC. ``gc_paused``: garbage collection was paused while its segments were copied. ``point``: the consistency
    point as a hybrid timestamp; every row and delete up to it is in the backup, and a restore leaves out what is newer. 0
    if the server gave none. ``late``: the segments that were not persistent at the point yet; only these can hold newer rows,
    or be L0 segments with newer deletes.
    """

    boundary: str = NONE
    at: str = ""
    gc_paused: bool = False
    point: int = 0
    late: list[int] = field(default_factory=list)


class FileDigest(Record):
    """A metadata file: its size in bytes, and digests in hexadecimal. ``md5``, to compare with an etag."""

    size: int = 0
    sha256: str = ""
    md5: str = ""


class Totals(Record):
    """What a committed backup contains. ``rows``: those that a query counted, where the count is exact, else those of the
    data segments, before deletes; None if nobody knows. ``objects``: without the metadata."""

    collections: int = 0
    objects: int = 0
    rows: int | None = None


class PutInPool(Record):
    """What a shared backup put into the pool. ``size`` in bytes."""

    objects: int = 0
    size: int = 0


class Earlier(Record):
    """What a committed backup was before the run that is completing it, or taking it into the pool; the fields of `Manifest`.
    ``format`` None: the same."""

    commit: str = ""
    format: str | None = None
    files: dict[str, FileDigest] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    protection: dict[str, Protection] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    totals: Totals | None = None


class Manifest(Record):
    """``meta/mbk.json``. Written first, to reserve the name, and again just before the backup is committed.

    ``started`` and ``finished`` are RFC 3339 in UTC. ``rows``: collection id -> the rows that a query counted, if the
    count was the same before the flush and after copying, and so is exact.
    ``protection`` is by collection id, too. ``failed``: ``db.coll`` -> why that collection is not in the backup.
    ``format`` as in `BackupHead`; ``snapshots``: ``db.coll`` that Milvus may still keep a snapshot of.
    ``command``: what made the backup, from ``source``, the name or location of another backup; once complete, a copy has
    the values of its source.
    ``commit`` names the commit; the mark in ``full_meta.json`` names it, too. ``files``: the metadata files that belong to it,
    by name, except this one, which ends with a digest of itself. ``earlier``: what is true until ``full_meta.json`` of this
    commit is written, if an older one is there.
    ``asked``: the options of `create` that were chosen, by name; ``filter`` and ``exclude`` as text. A run that completes
    the backup goes on with them. Empty if an older mbk wrote it.
    ``totals``: so that a listing need not read the rest; None if an older mbk wrote it. ``labels``: those of its user.
    ``origin``: the location of the storage of the Milvus that was backed up, and ``added``, of a shared backup.
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
    asked: dict[str, bool | int | str] = field(default_factory=dict)
    commit: str = ""
    files: dict[str, FileDigest] = field(default_factory=dict)
    earlier: Earlier | None = None
    totals: Totals | None = None
    labels: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    added: PutInPool | None = None

    def begun(self) -> Manifest:
        """For another backup, or another run: without what belongs to one commit."""
        return structs.replace(self, finished="", commit="", files={}, earlier=None, totals=None)

    def as_earlier(self) -> Earlier:
        return Earlier(**{name: getattr(self, name) for name in Earlier.__struct_fields__})

    def before(self) -> Manifest:
        """As it was before the run that is completing the backup, which may have replaced the level files."""
        if self.earlier is None:
            return self
        older = {name: getattr(self.earlier, name) for name in Earlier.__struct_fields__}
        older["files"] = {
            name: file for name, file in self.earlier.files.items() if name == FULL_META or is_record(name)
        }
        if older["format"] is None:
            older["format"] = self.format
        return structs.replace(self, **older, earlier=None)

    def remedy(self, name: str) -> str:
        """How to complete the backup ``name``, which was never committed."""
        if self.command == L0COMPACT:
            return f"start over: mbk l0compact -n {self.source} -o {name} --force"
        if self.command == COPY:
            return f"copy it again from {self.source}"
        if self.command == DELETE:
            return f"delete the rest: mbk delete -n {name}"
        return f"finish it: mbk create -n {name} --resume"


class StoredFinding(Record):
    """As :class:`mbk.model.reports.Finding`."""

    kind: str = ""
    key: str = ""
    collection: str = ""
    detail: str = ""


class VerifiedResult(Record):
    """One verification. ``at`` is RFC 3339 in UTC, ``depth`` a :class:`mbk.model.states.Depth`, ``sample`` in percent.

    ``objects`` and ``size``: what there is; ``read_size``: bytes read. ``found``: how many findings, ``findings`` the first
    of them. ``tool`` as in the manifest.
    """

    at: str = ""
    depth: str = ""
    sample: int = 100
    objects: int = 0
    size: int = 0
    read_size: int = 0
    found: int = 0
    findings: list[StoredFinding] = field(default_factory=list)
    tool: str = ""


class Verified(Record):
    """``meta/verified.json``: the verifications of a backup that no later one, as deep or deeper, has replaced.

    ``subject``: what was verified, the commit of the manifest, or the id of a backup without one.
    """

    version: int = 1
    subject: str = ""
    results: list[VerifiedResult] = field(default_factory=list)


class Pinned(Record):
    """``meta/pinned.json``. ``at`` and ``until`` are RFC 3339 in UTC; ``until`` empty: until it is unpinned."""

    version: int = 1
    at: str = ""
    until: str = ""
    reason: str = ""


class Locked(Record):
    """``meta/locked.json``: the storage keeps every object of the backup. ``at`` and ``until`` are RFC 3339 in UTC.

    ``mode``: `governance` or `compliance`.
    """

    version: int = 1
    at: str = ""
    mode: str = ""
    until: str = ""


class VerifyProgress(Record):
    """``meta/verifying.json``: how far a verification of the contents has come; removed at its end.

    ``day``: the day whose sample is read. ``done``: collection id -> how many of its units were checked, in their order.
    ``suspects``: [collection id, unit] of those in which something was found; they are checked again.
    """

    version: int = 1
    subject: str = ""
    at: str = ""
    depth: str = ""
    sample: int = 100
    day: int = 0
    done: dict[str, int] = field(default_factory=dict)
    suspects: list[list[int]] = field(default_factory=list)


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


class Added(Record):
    """Partitions of a backup that a finished restore added to an existing collection; ``at`` RFC 3339 in UTC."""

    backup_id: str = ""
    target: str = ""
    collection_id: int = 0
    partitions: list[str] = field(default_factory=list)
    at: str = ""


class Journal(Record):
    """The progress of one collection's restore; stored beside its staged copies until it is done.

    ``collection_id`` is the target's, 0 while it is being created. ``created``: whether this restore created it.
    ``released``: it was loaded, and must be loaded again. ``beside``: the name under which it is made, if it is to replace a
    collection; ``replaces``: the id of that one once the exchange has begun, ``aside``: the name that it gets.
    """

    version: int = 2
    backup_id: str = ""
    target: str = ""
    collection_id: int = 0
    created: bool = False
    jobs: dict[str, JobNote] = field(default_factory=dict)
    released: Loaded | None = None
    beside: str = ""
    replaces: int = 0
    aside: str = ""


class Ended(Record):
    """The journals of a restore that is done, while they are removed."""

    journals: list[Journal] = field(default_factory=list)
