"""The objects of a backup, to copy it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mbk.engine.formats.binlog.inventory import opened, surveyed
from mbk.engine.formats.binlog.known import spot_of
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.ports.storage import ObjectInfo, Storage


def belongings(storage: Storage, run: Run, catalog: Catalog, committed: Committed) -> Iterator[ObjectInfo]:
    """Each object of the data as it is listed, with the checksums that were recorded of it. Refuses before the first one."""
    found = surveyed(storage, run, catalog, committed)
    with opened(catalog, committed, storage.location) as inventory:
        for collection, places in found.items():
            known = inventory.of(collection)
            for entry in listing.objects(storage, run, *inventory.prefixes(collection)):
                spot = spot_of(entry.key.removeprefix(known.prefix))
                if spot is None or entry.key in places.extra:
                    continue
                record = known.objects.get(known.name(entry.key, spot))
                if record is None and known.shared:
                    continue
                recorded = record.digests if record is not None else {}
                yield replace(entry, checksums={**entry.checksums, **recorded})
