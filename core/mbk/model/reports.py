"""Backup names, and the reports of the commands: plain values for programs and for printing."""

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


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """One line of a listing. ``reason`` says why a backup is not complete.

    ``size`` in bytes, ``created`` in UTC if known.
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
    """The result of one collection. ``source`` and ``target`` are ``db.coll`` (equal in a backup).

    ``rows_expected`` and ``rows_present`` are None if they could not be counted. ``error`` is one line, for failed ones.
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
    """Objects and bytes by the way they were copied, and why any were streamed.

    The ways are ``server`` (copied by the storage), ``stream`` (through this process), ``convert`` (written in another
    form) and ``kept`` (copied by an earlier run). ``limited_because`` says how many copies ran at once, and why, if
    fewer than configured.
    """

    objects: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    streamed_because: str | None = None
    retries: int = 0
    limited_because: str | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a command that works on collections. ``location`` is the location of the backup, without credentials."""

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
    """One line of ``mbk check``: what was checked, whether it is ``ok``, the details. ``hint`` says how to fix it.

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
    """The result of ``migrate``: ``job`` is the service's, ``size`` in bytes. The service continues on its own."""

    name: str
    cluster: str
    job: str
    volume: str
    objects: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DeletionReport:
    """The result of ``delete``: the number of deleted objects."""

    name: str
    deleted_objects: int
