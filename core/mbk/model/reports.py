"""Backup names, and the reports of the commands: plain values for programs and for printing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime

from mbk.errors import InvalidName
from mbk.frozen import frozen
from mbk.model.locking import BackupLock
from mbk.model.states import BackupState, CollectionState, Depth, FindingKind, LeftoverKind

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def is_valid_name(name: str) -> bool:
    """Whether a new backup may have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Returns the name, or raises `InvalidName` with the rule (docs/reference/backup-format.md#keys-and-ids)."""
    if not is_valid_name(name):
        raise InvalidName(
            "invalid backup name {name!r}",
            code="backup-name-invalid",
            name=name,
            hint="use 1 to 128 letters, digits and _, not starting with a digit",
        )
    return name


def default_name(now: datetime | None = None) -> str:
    """``backup_YYYY_MM_DD_HH_MM_SS_{nanoseconds}`` in UTC, as the classic tool names an unnamed backup."""
    now = now or datetime.now(UTC)
    return f"backup_{now:%Y_%m_%d_%H_%M_%S}_{now.microsecond * 1000}"


def compacted_name(name: str) -> str:
    """The default name of the new backup of `l0compact`."""
    return f"{name}_l0compacted"


@frozen
class Verification:
    """When and how deep a backup was verified, and how many findings there were. ``sample``: percent of the objects read."""

    at: datetime
    depth: Depth
    findings: int = 0
    sample: int = 100


@frozen
class Pin:
    """What keeps a backup from being deleted, until a moment; None: until it is unpinned. ``reason``: its user's words."""

    until: datetime | None = None
    reason: str = ""

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until


@frozen
class BackupSummary:
    """One line of a listing. ``reason`` says why a backup is not complete. What is not known is None.

    ``size`` in bytes. ``created``: when it was begun, in UTC; where its tool did not record that, when its metadata was
    written. ``finished`` likewise, if recorded. ``rows``: before deletes, where they were not counted. ``verified``: the last verification of it as it is now.
    ``labels``: those that its user gave it. ``pin`` and ``locked``: what keeps it, also one whose time is over. ``written``:
    when its metadata was written, by the clock of the storage.
    ``added``: bytes that a shared backup put into the pool, ``frees``: those that deleting it would free, as no other
    backup has them; None where that is not known, and of other backups.
    """

    name: str
    state: BackupState
    size: int | None = None
    milvus_version: str = ""
    id: str = ""
    format: str = ""
    created: datetime | None = None
    reason: str = ""
    verified: Verification | None = None
    finished: datetime | None = None
    collection_count: int | None = None
    rows: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    pin: Pin | None = None
    locked: BackupLock | None = None
    written: datetime | None = None
    added: int | None = None
    frees: int | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took, None where that was not recorded."""
        if self.created is None or self.finished is None:
            return None
        return (self.finished - self.created).total_seconds()


@frozen
class CollectionOutcome:
    """The result of one collection. ``source`` and ``target`` are ``db.coll`` (equal in a backup).

    ``objects`` and ``size`` (bytes) are None where nobody knows, as of a failed one; ``rows_expected`` and ``rows_present`` if
    they could not be counted. ``error`` is one line, for failed ones. ``moment``: what a restored collection is of, by the clock of
    Milvus, None if it is of no exact one; ``behind``: seconds that this is before the moment that was asked for.
    """

    source: str
    target: str
    outcome: CollectionState
    objects: int | None = None
    size: int | None = None
    rows_expected: int | None = None
    rows_present: int | None = None
    seconds: float = 0.0
    error: str | None = None
    notes: tuple[str, ...] = ()
    moment: datetime | None = None
    behind: float | None = None


#: The way of an object that an earlier backup has.
REUSED = "reused"


@frozen
class TransferStats:
    """Objects and bytes by the way they were copied, why any were streamed, and what would make the storage copy them.

    The ways are ``server`` (copied by the storage), ``stream`` (through this process), ``convert`` (written in another
    form), ``kept`` (copied by an earlier run) and ``reused`` (an earlier backup has it). ``limited_because`` says what the run was
    held to: the configured rates, what a storage refused, memory. ``concurrency``: the most requests that were in flight at one storage at once.
    """

    objects: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    streamed_because: str | None = None
    streamed_hint: str | None = None
    retries: int = 0
    limited_because: str | None = None
    concurrency: int = 0

    @property
    def added(self) -> int:
        """Bytes of what no earlier backup has."""
        return sum(size for way, size in self.bytes.items() if way != REUSED)


@frozen
class Todo:
    """What a run left to be done, for a person or a program to decide on: ``code`` is stable, ``option`` does it next time."""

    code: str
    message: str
    option: str
    collections: tuple[str, ...]


@frozen
class RunReport:
    """The result of a command that works on collections. ``location`` is the location of the backup, without credentials.

    ``compared``: how deep, as the option ``verify`` of a restore or ``checksum`` of what copies; empty for others, and where Milvus
    itself copied. ``todo``: what matters next. ``asked``: the moment that a restore was asked for, if any.
    """

    command: str
    name: str
    id: str
    location: str
    milvus_version: str
    seconds: float
    collections: tuple[CollectionOutcome, ...]
    transfer: TransferStats = field(default_factory=TransferStats)
    notices: tuple[str, ...] = ()
    compared: str = ""
    todo: tuple[Todo, ...] = ()
    asked: datetime | None = None

    @property
    def failed(self) -> tuple[CollectionOutcome, ...]:
        """Collections that failed, or do not have the rows that they must have."""
        failed = (CollectionState.FAILED, CollectionState.WRONG)
        return tuple(item for item in self.collections if item.outcome in failed)

    @property
    def salvaged(self) -> tuple[CollectionOutcome, ...]:
        """Collections of which a part is lost."""
        return tuple(item for item in self.collections if item.outcome == CollectionState.SALVAGED)

    @property
    def size(self) -> int:
        return sum(item.size or 0 for item in self.collections)


@frozen
class CheckResult:
    """One line of ``mbk check``: what was checked, whether it is ``ok``, the details. ``hint`` says how to fix it.

    ``exit_code`` is that of the error behind a failed check (:mod:`mbk.errors`).
    """

    what: str
    ok: bool
    detail: str = ""
    hint: str | None = None
    warning: bool = False
    exit_code: int = 1


@frozen
class MigrationReport:
    """The result of ``migrate``: ``job`` is the service's, ``size`` in bytes. The service continues on its own."""

    name: str
    cluster: str
    job: str
    volume: str
    objects: int
    size: int
    seconds: float


@frozen
class DeletionReport:
    """The result of ``delete``: the numbers of deleted objects, of deleted old versions of objects, and of objects below the
    prefix that do not belong to the backup and stay. ``freed``: bytes of the deleted objects; of a shared backup only of those
    that no other backup has.
    """

    name: str
    deleted_objects: int
    deleted_versions: int = 0
    others: int = 0
    freed: int = 0
    notices: tuple[str, ...] = ()


@frozen(kw_only=True)
class UndeleteReport:
    """The result of ``undelete``. ``location`` is that of the backup, without credentials. ``returned``: objects and metadata files that came back, of ``size`` bytes,
    ``rewritten`` of them because other bytes were written over them. ``present``: those that were there."""

    name: str
    id: str
    location: str
    returned: int = 0
    size: int = 0
    rewritten: int = 0
    present: int = 0
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


@frozen
class PinReport:
    """The result of ``pin`` and ``unpin``: what keeps the backup now, None for nothing."""

    name: str
    pin: Pin | None = None


@frozen
class PrunedBackup:
    """What a prune decided about a backup and did with it. ``outcome``: ``kept``, ``deleted``, ``failed``, or ``planned`` for
    one that goes; ``reasons``: why it stays or goes. ``size`` in bytes, None if unknown; ``error`` is one line, for failed ones.
    """

    name: str
    outcome: str
    reasons: tuple[str, ...]
    state: BackupState
    created: datetime | None = None
    size: int | None = None
    error: str | None = None


@frozen
class PruneReport:
    """The result of ``prune``. ``location`` is that of the backups, without credentials. ``freed``: bytes of the deleted objects; what
    shared backups have in common with backups that stay is not among them."""

    location: str
    backups: tuple[PrunedBackup, ...]
    freed: int = 0
    deleted_objects: int = 0
    deleted_versions: int = 0
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


@frozen(kw_only=True)
class Leftover:
    """Something that a gc found, and what it did with it. ``outcome``: ``planned``, ``removed``, ``kept``, or ``failed``; ``reason``: why
    it is still there.

    ``location`` is that of the storage, without credentials. ``name``: the backup, the lease or the directory, empty for what lies in
    the pool. ``count``: how many uploads or deleted
    backups; ``objects`` and ``size``, in bytes, of what is removed, 0 where only the run can tell.
    """

    kind: LeftoverKind
    location: str
    name: str = ""
    outcome: str = "planned"
    count: int = 1
    objects: int = 0
    size: int = 0
    reason: str = ""

    @property
    def text(self) -> str:
        """What it is, for people."""
        match self.kind:
            case LeftoverKind.POOL:
                return f"{_counted(self.objects, 'object')} of the pool that no backup has"
            case LeftoverKind.DELETED:
                return f"what {_counted(self.count, 'deleted backup')} had to leave"
            case LeftoverKind.UPLOADS:
                return f"{_counted(self.count, 'unfinished upload')} to the pool"
            case LeftoverKind.RESTORE:
                return f"{_counted(self.objects, 'object')} that a restore left in {self.name}"
            case LeftoverKind.BACKUP:
                return f"{_counted(self.objects, 'object')} of {self.name}, the rest of a backup"
            case LeftoverKind.LEASE:
                return f"the lease {self.name} of a run that is dead"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@frozen
class GcReport:
    """The result of ``gc``: objects that were removed, and their bytes. ``left``: deleted backups whose objects have to wait.
    ``leftovers``: all that was found, one by one."""

    location: str
    deleted_objects: int = 0
    freed: int = 0
    left: int = 0
    leftovers: tuple[Leftover, ...] = ()
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


@frozen
class Finding:
    """Something wrong with a backup. ``key`` is relative to the backup's prefix, empty where it concerns no single object.

    ``collection`` is ``db.coll``, empty for the backup itself; ``segment`` and its ``rows`` are None where unknown. Of an object
    in the pool ``key`` is relative to that, and ``concerns`` are the names of all backups that have the object.
    """

    kind: FindingKind
    detail: str
    key: str = ""
    collection: str = ""
    segment: int | None = None
    rows: int | None = None
    concerns: tuple[str, ...] = ()


@frozen
class VerifiedCollection:
    """One collection of a verified backup. Sizes in bytes.

    ``objects`` and ``size``: what it must have. ``vouched``: objects that the service says are the recorded ones; ``read``
    and ``read_size``: those read, of which ``proven`` have the recorded digest and ``parsed`` were understood. ``rows``: of its
    segments, according to the metadata; ``restored``: rows that a drill counted. ``findings`` are all that were found.
    """

    name: str
    objects: int = 0
    size: int = 0
    vouched: int = 0
    read: int = 0
    read_size: int = 0
    proven: int = 0
    parsed: int = 0
    rows: int = 0
    restored: int | None = None
    findings: int = 0


@frozen
class VerifyReport:
    """The result of `verify`. ``location`` is that of the backup, without credentials.

    ``recorded``: the backup has a record of its objects; without one only names, sizes and counts of the metadata are
    compared. ``sample``: percent of the objects that were read. ``findings``: at most the first 10,000; ``found``: how many
    there are. ``stored``: the result is kept in the backup. ``resumed``: an interrupted verification was continued.
    ``concerns``: all backups that have one of the objects in ``findings``, of a shared backup.
    """

    name: str
    id: str
    location: str
    depth: Depth
    recorded: bool
    at: datetime
    seconds: float
    collections: tuple[VerifiedCollection, ...] = ()
    findings: tuple[Finding, ...] = ()
    found: int = 0
    sample: int = 100
    stored: bool = False
    resumed: bool = False
    concerns: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.found
