"""mbk: backup and restore for Milvus, the vector database, over any object storage.

>>> import mbk
>>> with mbk.connect("backup.yaml") as session:             # doctest: +SKIP
...     session.create("nightly")
...     session.restore("nightly", suffix="_recover")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbk import errors
from mbk.about import __version__

if TYPE_CHECKING:
    from mbk.config.schema import Settings, StorageChoice
    from mbk.model.contents import BackupCollection, BackupIndex, BackupInfo, BackupPartition, Protection
    from mbk.model.events import (
        CollectionFinished,
        Event,
        ImportProgressed,
        IndexProgressed,
        LoadProgressed,
        Notice,
        ObjectCopied,
        ObjectsDeleted,
        ObjectVerified,
        PhaseStarted,
        RetryScheduled,
        RunFinished,
        RunStarted,
        WorkExpected,
        WorkPlanned,
    )
    from mbk.model.jobs import Progress, Step
    from mbk.model.mapping import CollectionMapping, DatabaseMapping
    from mbk.model.options import (
        CopyOptions,
        CreateOptions,
        DeleteOptions,
        L0CompactOptions,
        MigrateOptions,
        RestoreOptions,
        StandbyOptions,
        Strategy,
        VerifyOptions,
    )
    from mbk.model.plans import Plan
    from mbk.model.reports import (
        BackupSummary,
        CheckResult,
        CollectionOutcome,
        DeletionReport,
        Finding,
        MigrationReport,
        RunReport,
        Todo,
        TransferStats,
        Verification,
        VerifiedCollection,
        VerifyReport,
    )
    from mbk.model.selection import CollectionName, Renaming, Selection
    from mbk.model.states import Depth, FindingKind
    from mbk.observe.meter import Meter
    from mbk.plugin import hookimpl
    from mbk.session import Session, connect

__all__ = [
    "BackupCollection",
    "BackupIndex",
    "BackupInfo",
    "BackupPartition",
    "BackupSummary",
    "CheckResult",
    "CollectionFinished",
    "CollectionMapping",
    "CollectionName",
    "CollectionOutcome",
    "CopyOptions",
    "CreateOptions",
    "DatabaseMapping",
    "DeleteOptions",
    "DeletionReport",
    "Depth",
    "Event",
    "Finding",
    "FindingKind",
    "ImportProgressed",
    "IndexProgressed",
    "L0CompactOptions",
    "LoadProgressed",
    "Meter",
    "MigrateOptions",
    "MigrationReport",
    "Notice",
    "ObjectCopied",
    "ObjectVerified",
    "ObjectsDeleted",
    "PhaseStarted",
    "Plan",
    "Progress",
    "Protection",
    "Renaming",
    "RestoreOptions",
    "RetryScheduled",
    "RunFinished",
    "RunReport",
    "RunStarted",
    "Selection",
    "Session",
    "Settings",
    "StandbyOptions",
    "Step",
    "StorageChoice",
    "Strategy",
    "Todo",
    "TransferStats",
    "Verification",
    "VerifiedCollection",
    "VerifyOptions",
    "VerifyReport",
    "WorkExpected",
    "WorkPlanned",
    "__version__",
    "connect",
    "errors",
    "hookimpl",
]

#: Where each export lives: it is loaded on first use, so that `import mbk` alone stays cheap.
_HOMES = {
    "mbk.config.schema": ("Settings", "StorageChoice"),
    "mbk.model.contents": (
        "BackupCollection",
        "BackupIndex",
        "BackupInfo",
        "BackupPartition",
        "Protection",
    ),
    "mbk.model.events": (
        "CollectionFinished",
        "Event",
        "ImportProgressed",
        "IndexProgressed",
        "LoadProgressed",
        "Notice",
        "ObjectCopied",
        "ObjectVerified",
        "ObjectsDeleted",
        "PhaseStarted",
        "RetryScheduled",
        "RunFinished",
        "RunStarted",
        "WorkExpected",
        "WorkPlanned",
    ),
    "mbk.model.jobs": ("Progress", "Step"),
    "mbk.model.mapping": ("CollectionMapping", "DatabaseMapping"),
    "mbk.model.options": (
        "CopyOptions",
        "CreateOptions",
        "DeleteOptions",
        "L0CompactOptions",
        "MigrateOptions",
        "RestoreOptions",
        "StandbyOptions",
        "Strategy",
        "VerifyOptions",
    ),
    "mbk.model.plans": ("Plan",),
    "mbk.model.reports": (
        "BackupSummary",
        "CheckResult",
        "CollectionOutcome",
        "DeletionReport",
        "Finding",
        "MigrationReport",
        "RunReport",
        "Todo",
        "TransferStats",
        "Verification",
        "VerifiedCollection",
        "VerifyReport",
    ),
    "mbk.model.selection": ("CollectionName", "Renaming", "Selection"),
    "mbk.model.states": ("Depth", "FindingKind"),
    "mbk.observe.meter": ("Meter",),
    "mbk.plugin": ("hookimpl",),
    "mbk.session": ("Session", "connect"),
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a checker would take any name for one that is found here

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            from importlib import import_module

            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
