"""What a run leaves in a backup that was deleted while the run stood still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mbk.engine.repository.catalog import Catalog, delete_below
from mbk.engine.repository.pool.collection import collect
from mbk.engine.runtime.lease import Lease
from mbk.model import layout
from mbk.model.manifest import COPY, Manifest
from mbk.ports.storage import PLAIN, WriteOptions


@dataclass(slots=True)
class InPool:
    """What a run that makes a shared backup says of it, once it knows: its id, and the end that it writes into the
    manifest, right before it commits the backup. ``copied``: the commit that it makes of another one, whose end is that of its
    source. ``before``: the ``full_meta.json`` that it replaces."""

    id: str = ""
    finished: str = ""
    copied: str = ""
    before: bytes | None = None
    options: WriteOptions = PLAIN

    def is_of(self, manifest: Manifest) -> bool:
        """Whether the run committed it, and no other one after that."""
        if self.copied:
            is_settled = manifest.command != COPY and manifest.earlier is None
            return manifest.commit == self.copied and not is_settled
        return (manifest.id, manifest.finished) == (self.id, self.finished)


def leftovers(name: str, shared: InPool | None = None) -> Callable[[Lease], None]:
    """For `hold`, by a run that writes backup ``name``: removes all of it if its successor deleted the backup.

    The lease says what the successor was. Where nothing is left of that, a backup without a manifest was deleted: every
    run writes it first. Anything else belongs to the successor now, or can be resumed. Of a ``shared`` backup what lies
    below its id goes by the rule of removal, as other backups may name some of it. If the run committed it although its lease
    was taken, that is taken back: objects that it builds on may have been removed.
    """
    told = shared or InPool()

    def remove(lease: Lease) -> None:
        catalog = Catalog(lease.storage, lease.run)
        if not _was_deleted(catalog, name, lease):
            if told.finished or told.copied:
                _take_back(catalog, name, told, lease)
            return
        place = catalog.layout(name)
        # What commits the backup goes first.
        lease.storage.delete([place.meta(layout.FULL_META), place.meta(layout.MANIFEST)])
        data = (f"{place.data_prefix}{layout.INSERT_LOG}/", f"{place.data_prefix}{layout.DELTA_LOG}/")
        for prefix in (place.meta_prefix, *data, f"{place.prefix}bundle/"):
            delete_below(lease.storage, prefix, lease.run)
        catalog.clean(place.prefix)
        if told.id:
            catalog.write(layout.removed(place.root, told.id), lambda: [])
            collect(lease.storage, lease.run, pace=lease.pace)

    return remove


def _take_back(catalog: Catalog, name: str, told: InPool, lease: Lease) -> None:
    """Makes the backup an incomplete one, which can be resumed, or what it was, unless another run has committed it."""
    stored = catalog.find(name)
    if not (stored.is_committed and told.is_of(catalog.read_manifest(name))):
        return
    key, before = stored.layout.meta(layout.FULL_META), told.before
    if before is None:
        lease.storage.delete([key])
    else:
        catalog.write(key, lambda: [before], options=told.options)


def _was_deleted(catalog: Catalog, name: str, lease: Lease) -> bool:
    if lease.before is not None:
        return lease.before.deletes
    files = catalog.find(name).files.keys()
    return not files & {layout.MANIFEST, layout.FULL_META}
