"""What a run leaves in a backup that was deleted while the run stood still."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mbk.engine.repository.catalog import Catalog, delete_below
from mbk.engine.repository.pool.collection import collect
from mbk.engine.runtime.lease import Lease
from mbk.model import layout


def leftovers(name: str, pool_ids: Collection[str] = ()) -> Callable[[Lease], None]:
    """For `hold`, by a run that writes backup ``name``: removes all of it if its successor deleted the backup.

    The lease says what the successor was. Where nothing is left of that, a backup without a manifest was deleted: every
    run writes it first. Anything else belongs to the successor now, or can be resumed. ``pool_ids``: the id of a shared backup,
    once it is known; what lies below it goes by the rule of removal, as other backups may name some of it.
    """

    def remove(lease: Lease) -> None:
        catalog = Catalog(lease.storage, lease.run)
        if not _was_deleted(catalog, name, lease):
            return
        place = catalog.layout(name)
        # What commits the backup goes first.
        lease.storage.delete([place.meta(layout.FULL_META), place.meta(layout.MANIFEST)])
        data = (f"{place.data_prefix}{layout.INSERT_LOG}/", f"{place.data_prefix}{layout.DELTA_LOG}/")
        for prefix in (place.meta_prefix, *data, f"{place.prefix}bundle/"):
            delete_below(lease.storage, prefix, lease.run)
        catalog.clean(place.prefix)
        for number in pool_ids:
            catalog.write(layout.removed(place.root, number), lambda: [])
        if pool_ids:
            collect(lease.storage, lease.run, pace=lease.pace)

    return remove


def _was_deleted(catalog: Catalog, name: str, lease: Lease) -> bool:
    if lease.before is not None:
        return lease.before.deletes
    files = catalog.find(name).files.keys()
    return not files & {layout.MANIFEST, layout.FULL_META}
