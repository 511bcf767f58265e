"""What deleting a shared backup would free, as far as the index tells without reading any record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.pool.index import stored_index
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError
from mbk.model.manifest import SHARED
from mbk.model.reports import BackupSummary
from mbk.ports.storage import Storage


def with_frees(storage: Storage, run: Run, summaries: Iterable[BackupSummary]) -> list[BackupSummary]:
    """A listing of all backups in which each shared one tells what it alone has. One request more, if there are any."""
    found = [*summaries]
    names = {item.name for item in found if item.format == SHARED}
    frees = _frees(storage, run, names, names) if names else {}
    return [replace(item, frees=frees[item.name]) if item.name in frees else item for item in found]


def frees_of(storage: Storage, run: Run, name: str) -> int | None:
    """Bytes that only this backup has; None if the index does not tell. Two requests."""
    there = {*Catalog(storage, run).below_root()}
    return _frees(storage, run, {name}, there).get(name)


def _frees(storage: Storage, run: Run, names: set[str], there: set[str]) -> dict[str, int]:
    """``names``: shared backups of which it is asked; ``there``: all, and whatever else is there. Empty if the index does not know
    all of that."""
    try:
        index = stored_index(storage, run)
    except AccessError:
        return {}
    if index is None or not names <= index.names or (there - index.names - index.others):
        return {}
    index.remove(index.names - there)
    return {name: freed.size for name, freed in index.frees_each().items()}
