"""The reports of verifications, as tables of collections and findings, or as a list of data."""

from __future__ import annotations

from collections.abc import Sequence

from mbk.cli.render import Column, counted, emit, emit_data, fitted, plain, size, table
from mbk.model.reports import VerifiedCollection, VerifyReport
from mbk.model.states import Depth

#: Findings that a table shows; data has all of the report.
SHOWN = 50
#: How early a column is left out where a terminal is too narrow: what was found never is.
_SPARE = {"SIZE": 4, "OBJECTS": 3, "READ": 2, "PARSED": 1}


def show(reports: Sequence[VerifyReport], output: str | None) -> None:
    if output in ("json", "yaml"):
        emit_data([{**plain(report), "is_whole": report.is_whole} for report in reports], output)
        return
    for report in reports:
        _print(report)


def _print(report: VerifyReport) -> None:
    if report.collections:
        emit(_collections(report))
    if report.findings:
        rows = [
            [item.kind, item.collection or "-", item.key or "-", item.detail]
            for item in report.findings[:SHOWN]
        ]
        emit(table(("FINDING", "COLLECTION", "OBJECT", "DETAIL"), rows))
        if report.found > SHOWN:
            emit(f"  and {report.found - SHOWN} more: -o json shows them")
        if report.concerns:
            emit(f"  these objects belong to the backups {', '.join(report.concerns)}")
    emit(_summary(report))


def _collections(report: VerifyReport) -> str:
    header = ["COLLECTION", "OBJECTS", "SIZE"]
    header += {Depth.CONTENTS: ["READ", "PROVEN", "PARSED"], Depth.LISTING: []}.get(report.depth, ["VOUCHED"])
    header += ["RESTORED"] if report.depth is Depth.DRILL else []
    rows = [[*_row(item, report.depth), str(item.findings)] for item in report.collections]
    cells = zip(*rows, strict=True)
    return fitted(
        [
            Column(title, given, _SPARE.get(title, 0))
            for title, given in zip([*header, "FINDINGS"], cells, strict=True)
        ]
    )


def _row(item: VerifiedCollection, depth: Depth) -> list[str]:
    row = [item.name, str(item.objects), size(item.size)]
    if depth is Depth.CONTENTS:
        return [*row, str(item.read), str(item.proven), str(item.parsed)]
    if depth is Depth.LISTING:
        return row
    row.append(str(item.vouched))
    return [*row, "-" if item.restored is None else str(item.restored)] if depth is Depth.DRILL else row


def _summary(report: VerifyReport) -> str:
    whole = "nothing wrong" if report.is_whole else counted(report.found, "finding")
    objects = sum(item.objects for item in report.collections)
    parts = [f"{whole}, {counted(objects, 'object')} in {report.seconds:.1f} s"]
    if report.sample != 100:
        parts.append(f"{report.sample}% of the contents")
    if not report.recorded:
        parts.append("without a record of the objects only the metadata could be compared")
    parts += _uncertain(report)
    if report.resumed:
        parts.append("continued")
    return f"verify {report.name} ({report.depth}): {'; '.join(parts)}; at {report.location}"


def _uncertain(report: VerifyReport) -> list[str]:
    """What nobody vouches for, and what was not understood."""
    collections = report.collections
    if report.depth is Depth.CONTENTS:
        read = sum(item.read for item in collections)
        unproven, unparsed = (
            (
                read - sum(counts)
                for counts in zip(*((item.proven, item.parsed) for item in collections), strict=True)
            )
            if collections
            else (0, 0)
        )
        parts = [f"{size(sum(item.read_size for item in collections))} read"]
        parts += [f"{counted(unproven, 'object')} without a recorded digest"] if unproven else []
        return parts + ([f"{counted(unparsed, 'object')} not parsed"] if unparsed else [])
    if not report.recorded:
        return []
    if report.depth is Depth.LISTING:
        return ["only names and sizes: --depth contents reads the objects"]
    rest = sum(item.objects - item.vouched for item in collections)
    return [f"nobody vouches for {counted(rest, 'object')}: --depth contents reads them"] if rest else []
