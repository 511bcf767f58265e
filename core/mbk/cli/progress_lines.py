"""The words of a run's progress: for a line of a log, and for the lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from mbk.cli.render import duration, size
from mbk.model.jobs import Progress, Step
from mbk.observe.meter import Meter

#: Collections that are named at once.
NAMED = 4
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
#: Cells that a bar has at most, and at least.
_LONGEST, _SHORTEST = 24, 8


def summary(meter: Meter, seconds: float, *, phase: str = "") -> str:
    """``1 min 5 s: copy: 42 %, 1.2/2.9 GiB, 410/980 objects, 2/7 collections, 35.2 MiB/s, 50 s left``."""
    told = meter.progress()
    phase = phase or _phases(told)
    parts = [*_parts(told), *_imports(told)] if told.objects or told.jobs_total else [*_collections(told)]
    details = ", ".join(parts)
    return f"{duration(seconds)}: {phase}{details and ': '}{details}"


def drawing(meter: Meter, seconds: float, command: str, width: int, *, ascii: bool = False) -> Iterator[str]:
    """Lines of at most ``width`` cells: what is under way, how much is done, the imports, and some collections."""
    told = meter.progress()
    head = f"{command}: {_phases(told)}"
    tail = ", ".join([*_collections(told), duration(seconds)])
    yield f"{_cut(head, width - len(tail) - 2)}  {tail}"
    if told.bytes_total or told.objects_total:
        share = told.bytes / told.bytes_total if told.bytes_total else told.objects / told.objects_total
        yield _barred("  ", share, [*_amounts(told)], width, ascii=ascii)
    elif told.objects:
        yield f"  {told.objects} objects"
    if told.jobs_total:
        imported = [step for step in told.steps if step.phase == "import"]
        share = told.jobs / told.jobs_total
        yield _barred("  ", share, [*_imports(told)], width, ascii=ascii)
        yield from _named(imported, width)
    yield from _named([step for step in told.steps if step.phase in ("index", "load")], width)


def _phases(told: Progress) -> str:
    """All that collections are at, or what the run is."""
    return ", ".join(dict.fromkeys(step.phase for step in told.steps)) or told.phase or "connect"


def _named(steps: list[Step], width: int) -> Iterator[str]:
    for step in steps[:NAMED]:
        end = f"{step.phase}{_amount(step)}"
        yield f"    {_cut(step.collection, width - len(end) - 6)}  {end}"
    if len(steps) > NAMED:
        yield f"    and {len(steps) - NAMED} more"


def _amount(step: Step) -> str:
    if not step.total:
        return ""
    if step.phase == "load":
        return f"  {step.done} %"
    percent = f"  {step.percent} %" if step.percent is not None else ""
    return f"  {step.done}/{step.total} {_UNIT.get(step.phase, '')}{percent}"


_UNIT = {"index": "rows", "import": "jobs"}


def _parts(told: Progress) -> Iterator[str]:
    if told.objects_total or told.jobs_total:
        yield f"{told.percent} %"
    yield from _amounts(told, percent=False)
    yield from _collections(told)


def _amounts(told: Progress, *, percent: bool = True) -> Iterator[str]:
    if percent:
        share = (
            told.bytes / told.bytes_total if told.bytes_total else told.objects / max(told.objects_total, 1)
        )
        yield f"{int(100 * min(share, 1.0)):>3} %"
    if told.bytes_total:
        yield of(told.bytes, told.bytes_total)
    yield f"{told.objects}/{told.objects_total} objects" if told.objects_total else f"{told.objects} objects"
    if told.rate:
        yield f"{size(told.rate)}/s"
    if told.seconds_left is not None:
        yield f"{_rough(told.seconds_left)} left"


def _rough(seconds: int) -> str:
    """``7 s``, without the tenths that nobody can foretell."""
    return f"{seconds} s" if seconds < 60 else duration(seconds)


def _imports(told: Progress) -> Iterator[str]:
    if told.jobs_total:
        yield f"{told.jobs}/{told.jobs_total} import jobs"


def _collections(told: Progress) -> Iterator[str]:
    if told.collections_total > 1:
        yield f"{told.collections}/{told.collections_total} collections"


def of(done: int, total: int) -> str:
    """``1.2/2.9 GiB``: both in the unit of the total."""
    place, scale = 0, 1
    while total >= 1024 * scale and place < len(_UNITS) - 1:
        place, scale = place + 1, scale * 1024
    if not place:
        return f"{done}/{total} B"
    return f"{done / scale:.1f}/{total / scale:.1f} {_UNITS[place]}"


def _barred(indent: str, share: float, parts: list[str], width: int, *, ascii: bool) -> str:
    """A bar and as many of the parts as there is room for."""
    while parts and len(indent) + _SHORTEST + 2 + len("  ".join(parts)) > width:
        parts.pop()
    text = "  ".join(parts)
    room = max(_SHORTEST, min(_LONGEST, width - len(indent) - len(text) - 2))
    done = int(room * min(share, 1.0))
    full, empty = ("#", ".") if ascii else ("█", "░")
    return f"{indent}{full * done}{empty * (room - done)}  {text}"


def _cut(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else f"{text[: max(width - 1, 1)]}…"
