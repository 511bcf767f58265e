"""``mbk get``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mbk.cli.app import App
from mbk.cli.choosing import chosen_name, help_of, name_parameters
from mbk.cli.options import generated
from mbk.cli.parsing import Command
from mbk.cli.render import Column, count, counted, emit, emit_data, fitted, moment, size, table
from mbk.model.contents import BackupCollection, BackupInfo, BackupPartition, Protection
from mbk.model.operations import OPERATIONS
from mbk.model.states import BackupState

GET = OPERATIONS["get"]


@click.command("get", cls=Command, help=help_of(GET), params=[*name_parameters(), *generated(GET.options)])
@click.pass_obj
def command(app: App, name: str | None, argument: str | None, detail: bool | None) -> None:
    backup = chosen_name(name, argument)
    with app.session() as session:
        info = session.get(backup, detail=bool(detail))
    if app.output == "table":
        _print_table(info)
    else:
        emit_data(info.document, app.output, of_classic_tool=True)


def _print_table(info: BackupInfo) -> None:
    """With partitions where they were asked for."""
    if info.collections:
        emit(_collections(info.collections))
    partitions = [(item, part) for item in info.collections for part in item.partitions]
    if partitions:
        emit("")
        emit(_partitions(partitions))
        emit("")
    version = info.milvus_version or "unknown"
    if info.verified is not None:
        found = counted(info.verified.findings, "finding") if info.verified.findings else "nothing wrong"
        emit(f"verified {moment(info.verified.at)} ({info.verified.depth}): {found}")
    if info.locked is not None:
        emit(f"{info.locked} ({info.locked.mode or 'mode unknown'})")
    if info.added is not None:
        freed = "" if info.frees is None else f"; deleting it would free {size(info.frees)}"
        emit(f"it put {size(info.added)} into the pool{freed}")
    emit(f"{info.name}: {_number(info)}, {size(info.size)}, Milvus {version}")
    if info.reason:
        emit(f"{info.state}: {info.reason}")


def _number(info: BackupInfo) -> str:
    known = info.collections or info.state is not BackupState.INCOMPLETE
    return counted(len(info.collections), "collection") if known else "- collections"


def _collections(collections: Sequence[BackupCollection]) -> str:
    columns = [
        Column("COLLECTION", [_label(item) for item in collections]),
        Column("SIZE", [size(item.size) for item in collections]),
        Column("INDEXES", [", ".join(index.type for index in item.indexes) or "-" for item in collections]),
        Column("LOADED", [item.load_state or "-" for item in collections]),
        Column("BOUNDARY", [_consistency(item.protection) for item in collections]),
    ]
    if any(item.partitions for item in collections):
        columns[1:1] = [
            Column("PARTITIONS", [str(len(item.partitions)) for item in collections]),
            Column("SEGMENTS", [count(item.segments) for item in collections]),
            Column("L0", [count(item.l0_segments) for item in collections]),
            Column("ROWS", [count(item.rows) for item in collections]),
        ]
    return fitted(columns)


def _partitions(found: Sequence[tuple[BackupCollection, BackupPartition]]) -> str:
    rows = [
        (_label(item), part.name, str(part.segments), str(part.rows), size(part.size)) for item, part in found
    ]
    return table(("COLLECTION", "PARTITION", "SEGMENTS", "ROWS", "SIZE"), rows)


def _label(item: BackupCollection) -> str:
    return f"{item.database}.{item.name}"


def _consistency(protection: Protection | None) -> str:
    """How the consistency point was taken (``all``, ``own`` or ``none``), its time, and whether the GC was not paused."""
    if protection is None:
        return "-"
    parts = [protection.boundary, *filter(None, [protection.at])]
    return " ".join(parts if protection.gc_paused else [*parts, "(GC not paused)"])
