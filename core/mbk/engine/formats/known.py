"""The formats that a backup can have, and which one a run uses. A new format is one entry here."""

from __future__ import annotations

from mbk.engine.formats.base import BackupFormat, Format
from mbk.engine.formats.binlog.format import BinlogFormat
from mbk.engine.formats.snapshot.format import SnapshotFormat
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.messages import unknown_format
from mbk.errors import UsageError
from mbk.model.options import CreateOptions
from mbk.model.selection import Selection

AUTO = "auto"
#: In order of preference: the last one takes what no other accepts.
FORMATS: tuple[Format, ...] = (SnapshotFormat(), BinlogFormat())


def of_backup(recorded: str, name: str) -> Format:
    """The format of backup ``name``, for which ``full_meta.json`` has ``recorded``; `InvalidBackup` if unknown."""
    for kind in FORMATS:
        if recorded in kind.recorded:
            return kind
    raise unknown_format(name, recorded)


def for_backup(
    context: ClusterContext, options: CreateOptions, selection: Selection, *, before: str | None
) -> tuple[Format, BackupFormat]:
    """The format of a run of `create`. ``before``: the recorded format of the backup to complete.

    Raises `UsageError` and `Unsupported` if the requested format is not possible.
    """
    names = [kind.name for kind in FORMATS]
    if options.format not in (AUTO, *names):
        raise UsageError(
            "unknown format {format!r}",
            code="format-unknown",
            format=options.format,
            formats=", ".join((AUTO, *sorted(names))),
            hint="use one of {formats}",
        )
    if before is not None and options.format not in (AUTO, begun := of_backup(before, "").name):
        raise UsageError(
            "the backup was started in format {started} and cannot be completed in format {format}",
            code="format-changed",
            started=begun,
            format=options.format,
            hint="leave out --format",
        )
    for kind in FORMATS:
        chosen = kind.backup(context, options, selection, before=before)
        if chosen is not None:
            return kind, chosen
    raise AssertionError("the last format accepts every run")


def require_compaction() -> None:
    """`MissingDependency` if a package for rewriting backups is not installed; checked before anything is read."""
    import mbk.engine.formats.binlog.compact  # noqa: F401 - the import itself is the check
