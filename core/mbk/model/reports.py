"""Backup names, and what the commands report. Plain values that a program can read and a renderer can print."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mbk.errors import InvalidName
from mbk.model.states import BackupState, CollectionState

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def check_name(name: str) -> str:
    """Returns the name, or raises `InvalidName` with the rule (docs/reference/backup-format.md#keys-and-ids)."""
    if not _NAME.fullmatch(name):
        raise InvalidName(
            "backup name {name!r} is not allowed",
            code="backup-name-allowed",
            name=name,
            hint="use 1 to 128 letters, digits and _, not beginning with a digit",
        )
    return name


def default_name(now: datetime | None = None) -> str:
    """``backup_YYYY_MM_DD_HH_MM_SS_{nanoseconds}`` in UTC, as the classic tool names an unnamed backup."""
    now = now or datetime.now(UTC)
    return f"backup_{now:%Y_%m_%d_%H_%M_%S}_{now.microsecond * 1000}"


def compacted_name(name: str) -> str:
    """What `l0compact` calls the new backup unless told otherwise."""
    return f"{name}_l0compacted"


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """One line of a listing. ``reason`` says why a backup is not complete.

    ``size`` in bytes, ``created`` in UTC where known.
    """

    name: str
    state: BackupState
    size: int = 0
    milvus_version: str = ""
    id: str = ""
    format: str = ""
    created: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CollectionOutcome:
    """What became of one collection. ``source`` and ``target`` are ``db.coll`` (equal in a backup).

    ``rows_expected`` and ``rows_present`` are None where nobody could count. ``error`` is one line, for failed ones.
    """

    source: str
    target: str
    outcome: CollectionState
    objects: int = 0
    size: int = 0
    rows_expected: int | None = None
    rows_present: int | None = None
    seconds: float = 0.0
    error: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TransferStats:
    """How the bytes went: objects and bytes by way, and why any were streamed.

    The ways are ``server`` (copied by the storage), ``stream`` (through this process), ``convert`` (written in another
    form) and ``kept`` (was there already). ``limited_because`` says how many copies were under way at once, and why,
    where these were fewer than the configuration asks for.
    """

    objects: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    streamed_because: str | None = None
    retries: int = 0
    limited_because: str | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a command that works on collections. ``location`` is where the backup lies, without credentials."""

    command: str
    name: str
    id: str
    location: str
    milvus_version: str
    seconds: float
    collections: tuple[CollectionOutcome, ...]
    transfer: TransferStats = field(default_factory=TransferStats)
    notices: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[CollectionOutcome, ...]:
        return tuple(item for item in self.collections if item.outcome == CollectionState.FAILED)

    @property
    def size(self) -> int:
        return sum(item.size for item in self.collections)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One answer of ``mbk check``: what was tried, whether it is ``ok``, what was found. ``hint`` says how to fix it.

    ``exit_code`` is that of the error behind a failed check (:mod:`mbk.errors`).
    """

    what: str
    ok: bool
    detail: str = ""
    hint: str | None = None
    warning: bool = False
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """The result of ``migrate``: ``job`` is the service's, ``size`` in bytes. The service goes on by itself."""

    name: str
    cluster: str
    job: str
    volume: str
    objects: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DeletionReport:
    """The result of ``delete``: how many objects went."""

    name: str
    deleted_objects: int
