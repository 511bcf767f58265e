"""Where backups lie beside Milvus' own data, and which names would be directories of Milvus there. Pure; no request."""

from __future__ import annotations

from mbk.engine.runtime.run import Run
from mbk.errors import InvalidName, UsageError
from mbk.model import layout
from mbk.ports.storage import Location


def require_room(name: str, backups: Location, milvus: Location | None) -> None:
    """Refuses to make backup ``name`` where it would lie in Milvus' own data.

    `UsageError` if the backups' root path is one of Milvus' directories, `InvalidName` if ``name`` would be one: the root
    path is Milvus' own or contains it. ``milvus`` None: it is not known.
    """
    if milvus is None:
        return
    inside = _below(milvus, backups)
    if inside and layout.is_of_milvus(inside[0]):
        raise UsageError(
            "the root path of the backups, {backups}, lies in Milvus' own data: Milvus deletes what it does not know there",
            code="backups-inside-milvus",
            backups=backups,
            hint="set another root path for the backups (backup.storage.rootPath)",
        )
    contained = _below(backups, milvus)
    if contained is not None and (layout.is_of_milvus(name) or contained[:1] == (name,)):
        raise InvalidName(
            "a backup cannot be called {name!r} in {backups}: that is a directory of Milvus' own data",
            code="backup-name-of-milvus",
            name=name,
            backups=backups,
            hint="choose another name, or a root path of their own for the backups (backup.storage.rootPath)",
        )


def require_no_milvus(name: str, backups: Location, milvus: Location | None) -> None:
    """`InvalidName` if Milvus' root path lies below the prefix of backup ``name``: nothing there may be deleted."""
    contained = _below(backups, milvus) if milvus is not None else None
    if contained and contained[0] == name:
        raise InvalidName(
            "{name!r} in {backups} contains Milvus' own data ({milvus})",
            code="backup-around-milvus",
            name=name,
            backups=backups,
            milvus=milvus,
            hint="check bucket and root path of the backups",
        )


def notice_shared_root(backups: Location, milvus: Location, run: Run) -> None:
    """Backups in Milvus' own root path work, but nothing keeps the two apart there except names."""
    if _below(backups, milvus) is not None:
        run.notice(
            "root-shared-with-milvus",
            "the backups lie in {backups}, which also holds Milvus' own data: a root path of their own is safer",
            backups=backups,
        )


def _below(outer: Location, inner: Location) -> tuple[str, ...] | None:
    """The way from one place down to the other, ``()`` for the same place; None if it is not inside."""
    as_files = bool(outer.mount and inner.mount)
    same_host = (outer.backend, outer.endpoint, outer.account) == (
        inner.backend,
        inner.endpoint,
        inner.account,
    )
    if not (outer.same_bucket(inner) or (as_files and same_host)):
        return None
    start, way = _elements(outer), _elements(inner)
    return way[len(start) :] if way[: len(start)] == start else None


def _elements(place: Location) -> tuple[str, ...]:
    """A directory is named by its whole path, so that one directory can lie in another."""
    path = f"{place.bucket if place.mount else ''}/{place.root}"
    return tuple(filter(None, path.replace("\\", "/").split("/")))
