"""The keys of Milvus' own data and of a backup. Pure text.

See docs/reference/backup-format.md#keys-and-ids.
"""

from __future__ import annotations

import re

from mbk.frozen import frozen
from mbk.model.records import ALL_PARTITIONS

INSERT_LOG = "insert_log"
DELTA_LOG = "delta_log"

BACKUP_META = "backup_meta.json"
COLLECTION_META = "collection_meta.json"
PARTITION_META = "partition_meta.json"
SEGMENT_META = "segment_meta.json"
FULL_META = "full_meta.json"
#: mbk's own files beside the classic ones; the classic tool ignores them.
MANIFEST = "mbk.json"
_RECORDS = "objects-"
_RECORD = re.compile(rf"{_RECORDS}[0-9a-f]{{12}}\.jsonl\.gz")
#: Of a copy of a record in the pool: the id of its backup, and what tells its commit.
_REMOVED = re.compile(r"(.+)-([0-9a-f]{12}\.jsonl\.gz)")

#: The result of the last verifications, the progress of one that was interrupted, and what keeps the backup.
VERIFIED = "verified.json"
VERIFYING = "verifying.json"
PINNED = "pinned.json"
#: Until when the storage keeps the backup.
LOCKED = "locked.json"
#: Those files belong to no commit, and to no copy of the backup.
BESIDE = frozenset({VERIFIED, VERIFYING, PINNED, LOCKED})

RESTORE_TEMP = "restore-temp-"

#: Below a backup root: the objects of all its shared backups, each below the id of the backup that put it there.
POOL = ".mbk/pool/"
#: Copies of the records of deleted backups, whose objects are to be removed once no run may still build on them.
REMOVED = f"{POOL}removed/"
#: The objects of the pool that verifications found damaged.
DAMAGED = f"{POOL}damaged.json"
#: Which objects lie in the pool and which backups name them; made anew from the records of the backups when it is gone.
POOL_INDEX = f"{POOL}index.jsonl.gz"
#: Below a backup root: the schedules that servers were given over REST.
SCHEDULES = ".mbk/schedules/"
#: The name of the lease of whoever removes objects from the pool, which no backup has.
POOL_LEASE = ".pool"
#: The name of the lease of whoever removes those of the dead.
GC_LEASE = ".gc"


@frozen
class BackupLayout:
    """The keys of one backup. ``root`` is the backup side's prefix (empty or ending with ``/``)."""

    root: str
    name: str

    @property
    def prefix(self) -> str:
        return f"{self.root}{self.name}/"

    @property
    def meta_prefix(self) -> str:
        return f"{self.prefix}meta/"

    @property
    def data_prefix(self) -> str:
        return f"{self.prefix}binlogs/"

    def meta(self, file: str) -> str:
        return f"{self.meta_prefix}{file}"

    def collection_prefixes(self, collection: int) -> tuple[str, str]:
        """The insert and the delta prefix of a collection."""
        return (
            f"{self.data_prefix}{INSERT_LOG}/{collection}/",
            f"{self.data_prefix}{DELTA_LOG}/{collection}/",
        )

    def insert(self, collection: int, partition: int, segment: int, field: int, log: int) -> str:
        return f"{self.data_prefix}{INSERT_LOG}/{collection}/{partition}/{segment}/{segment}/{field}/{log}"

    def delta(self, collection: int, partition: int, segment: int, log: int) -> str:
        """L0 segments of all partitions have no group element (docs/reference/backup-format.md#keys-and-ids)."""
        group = "" if partition == ALL_PARTITIONS else f"{segment}/"
        return f"{self.data_prefix}{DELTA_LOG}/{collection}/{partition}/{group}{segment}/{log}"


def pool_prefix(root: str) -> str:
    """What the keys in the record of a shared backup are relative to. ``root`` as in `BackupLayout`."""
    return f"{root}{POOL}"


def pooled(root: str, backup_id: str) -> BackupLayout:
    """Where the runs of the shared backup with this id put their objects, laid out as those of a classic backup.

    Nobody else writes there, so that two runs never write one key; other backups may name what lies there.
    """
    return BackupLayout(pool_prefix(root), backup_id)


def removed(root: str, backup_id: str, record: str = "") -> str:
    """The key of what tells that objects of a backup with this id are to be removed from the pool: those that this file, a copy
    of its ``record``, names, or without one all that the backup put there."""
    return f"{root}{REMOVED}{backup_id}{record and f'-{record.removeprefix(_RECORDS)}'}"


def removed_record(name: str) -> tuple[str, str] | None:
    """The id of the backup and the name of its record, of a file of this name as `removed` makes it; None without a record."""
    match = _REMOVED.fullmatch(name)
    return (match[1], f"{_RECORDS}{match[2]}") if match else None


#: Names below a backup's prefix that mbk and the classic tool write.
_OWN = re.compile(r"meta/[^/]+|binlogs/(?:insert_log|delta_log)/\d+/.+|bundle/.+", re.DOTALL)
#: The data alone, all ids, as strictly as every release of the classic tool wrote it.
_DATA = re.compile(r"binlogs/insert_log(?:/\d+){5,6}|binlogs/delta_log/\d+/-?\d+(?:/\d+){2,3}")
#: Names of a copied log, with its collection and its segment.
_COPIES = (
    re.compile(r"insert_log/(\d+)/\d+/(?:\d+/)?(\d+)/\d+/\d+"),
    re.compile(r"delta_log/(\d+)/-?\d+/(?:\d+/)?(\d+)/\d+"),
)
#: Names below a directory of a restore: its journal, and copies of the segments of an import, whose key no other tool makes.
_STAGED = re.compile(r"mbk\.json|(?:insert|delta)_log/-?\d+-[0-9a-f]{12}(?:/\d+){2,3}")
#: What Milvus calls directories below its root path (milvus: pkg/common, internal/storage).
_OF_MILVUS = re.compile(
    r"(?:insert|delta|stats|text|index|bm25|lob)_logs?|(?:bm25|part|analyze)_stats|index_files|json_\w+"
    r"|centroids|offset_mapping|snapshots?|file_resources?|wp|woodpecker|rdb_data\w*|restore-temp-.*|\.mbk"
)


def is_own(name: str) -> bool:
    """Whether ``name``, a key relative to a backup's prefix, is one that mbk or the classic tool writes there."""
    return _OWN.fullmatch(name) is not None


def is_data(name: str) -> bool:
    """Whether it is that of a copied log. Without any metadata beside it, it may be somebody else's all the same."""
    return _DATA.fullmatch(name) is not None


def is_of_milvus(name: str) -> bool:
    """Whether Milvus has, or mbk keeps, a directory of this name below a root path."""
    return _OF_MILVUS.fullmatch(name) is not None


def is_pooled(name: str) -> bool:
    """Whether ``name``, a key relative to the pool, is that of an object that a shared backup put there."""
    owner, _, rest = name.partition("/")
    return bool(owner) and is_data(rest)


def is_staged(name: str) -> bool:
    """Whether ``name``, a key relative to a directory of a restore, is that of its journal or of a copy, as every mbk names them."""
    return _STAGED.fullmatch(name) is not None


def staged_targets(directory: str) -> tuple[str, ...]:
    """All that a directory of a restore, given without its root and its slash, may be for, as ``db.coll``; empty if it is none.

    ``restore-temp-a-b-c-d`` may be of backup a-b, into c.d, of backup a, into b.c-d or into b-c.d: each name may have dashes.
    """
    if not directory.startswith(RESTORE_TEMP):
        return ()
    parts = directory.removeprefix(RESTORE_TEMP).split("-")
    return tuple(
        f"{'-'.join(parts[start:end])}.{'-'.join(parts[end:])}"
        for start in range(1, len(parts) - 1)
        for end in range(start + 1, len(parts))
    )


def copied_segment(name: str) -> tuple[int, int] | None:
    """Collection and segment of a copied log; ``name`` is relative to the data prefix. None if it has another form."""
    for form in _COPIES:
        if match := form.fullmatch(name):
            return int(match[1]), int(match[2])
    return None


def record_file(commit: str) -> str:
    """The record of objects that belongs to this commit; a later commit of the same backup writes another one."""
    return f"{_RECORDS}{commit[:12]}.jsonl.gz"


def is_record(file: str) -> bool:
    return _RECORD.fullmatch(file) is not None


@frozen
class InsertKey:
    collection: int
    partition: int
    segment: int
    field: int
    log: int


@frozen
class DeltaKey:
    collection: int
    partition: int
    segment: int
    log: int


_INSERT = re.compile(r"insert_log/(\d+)/(\d+)/(\d+)/(\d+)/(\d+)")
_DELTA = re.compile(r"delta_log/(\d+)/(-?\d+)/(\d+)/(\d+)")


def segment_prefixes(root: str, collection: int, partition: int, segment: int) -> tuple[str, str]:
    """The prefixes of a segment's insert logs and delta logs in Milvus' storage; ``root`` as in `BackupLayout`."""
    place = f"{collection}/{partition}/{segment}/"
    return f"{root}{INSERT_LOG}/{place}", f"{root}{DELTA_LOG}/{place}"


def parse_insert(root: str, key: str) -> InsertKey | None:
    """The ids in a Milvus insert-log key, None if the key has another form."""
    match = _INSERT.fullmatch(key[len(root) :]) if key.startswith(root) else None
    return InsertKey(*map(int, match.groups())) if match else None


def parse_delta(root: str, key: str) -> DeltaKey | None:
    """The ids in a Milvus delta-log key, None if the key has another form."""
    match = _DELTA.fullmatch(key[len(root) :]) if key.startswith(root) else None
    return DeltaKey(*map(int, match.groups())) if match else None


def physical_channel(channel: str) -> str:
    """The physical channel of a virtual channel or the control channel; a physical one is returned unchanged."""
    head, underscore, tail = channel.rpartition("_")
    return head if underscore and "v" in tail else channel
