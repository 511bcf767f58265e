"""A backup that seems to have both layouts: said in one line, with what ends it."""

from __future__ import annotations

from mbk.engine.repository.catalog import Committed
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.ports.storage import Storage


def tell_classic(storage: Storage, run: Run, committed: Committed) -> None:
    """Notices objects below the prefix of a shared backup: an import that was stopped leaves its classic copies.

    A common prefix is none: some services tell one of which a versioned bucket has only what was deleted.
    """
    place = committed.stored.layout
    if committed.is_shared and listing.any_below(storage, run, place.data_prefix):
        run.notice(
            "classic-copies-left",
            "the objects of backup {backup!r} lie in the pool, those below {prefix} are not used: if an import was stopped, "
            "mbk import -n {backup} ends it",
            backup=place.name,
            prefix=place.data_prefix,
        )
