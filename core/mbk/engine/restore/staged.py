"""What killed restores left in Milvus' storage: the copies that were staged for Milvus, and the journals.

Whose they are, the name of the directory tells. A running restore claims its targets; who removes one of its directories
claims them as a restore would, so that neither begins beside the other. Copies can be made again. A journal goes with them,
unless it tells of something in Milvus that only the same restore can end well, and Milvus does not say that this is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec import field

from mbk.engine.repository import codec
from mbk.engine.repository.catalog import Catalog, clean, delete_below
from mbk.engine.runtime.aging import Age
from mbk.engine.runtime.claims import hold_targets
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.fenced import FencedStorage
from mbk.engine.runtime.lease import Lease
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import Busy, Interrupted, InvalidBackup, MbkError, ObjectNotFound
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.manifest import Journal
from mbk.model.reports import Leftover
from mbk.model.states import LeftoverKind
from mbk.ports.milvus.server import Milvus
from mbk.ports.storage import ObjectInfo, Storage

#: Connects to Milvus.
Ask = Callable[[], Milvus]
#: Of the directory in which a restore keeps its journals together while they are removed.
_ENDED = re.compile(r".+-ended-[0-9a-f]{12}/")
_EVER = datetime.min.replace(tzinfo=UTC)


class _Kept(Journal):
    """A journal, or the ``journals`` of a restore that is done."""

    journals: list[Journal] = field(default_factory=list)


@frozen(kw_only=True)
class _Directory:
    """``objects`` and ``size`` of what restores put there, ``newest`` of that, None if nobody can date it; ``copies`` and
    ``copied`` without the journal. ``strangers``: other objects."""

    objects: int
    copies: int
    size: int
    copied: int
    newest: datetime | None
    strangers: int
    kept: _Kept

    @property
    def is_begun(self) -> bool:
        """Whether the journal tells of what its restore made or changed in Milvus."""
        kept = self.kept
        return bool(
            kept.collection_id or kept.created or kept.jobs or kept.released or kept.beside or kept.replaces
        )


def find(storage: Storage, run: Run, ask: Ask | None, age: Age) -> Iterator[Leftover]:
    for prefix in _prefixes(storage, run):
        here = _look(storage, run, prefix)
        if here.objects and age.is_over(here.newest):
            yield _told(str(storage.location), prefix, here, stays=_stays(storage, run, ask, here))


def remove(
    storage: Storage,
    run: Run,
    ask: Ask | None,
    pace: LeasePace,
    grace: timedelta,
    found: Sequence[Leftover],
) -> Iterator[Leftover]:
    """The journals that were kept together go last, once those are gone that they were made from."""
    removal = _Removal(storage, run, ask, pace, grace)
    for item in sorted(found, key=lambda item: _ENDED.fullmatch(item.name) is not None):
        yield removal.of(item)


def _told(location: str, prefix: str, here: _Directory, *, stays: bool) -> Leftover:
    """``stays``: its journal does."""
    objects = here.copies if stays else here.objects
    reasons = [
        *(
            [f"the restore into {here.kept.target} did not end, and its journal stays: {_REMEDY}"]
            if stays
            else []
        ),
        *([f"{here.strangers} objects there are no restore's, and stay"] if here.strangers else []),
    ]
    return Leftover(
        kind=LeftoverKind.RESTORE,
        location=location,
        name=prefix,
        outcome="planned" if objects else "kept",
        objects=objects,
        size=here.copied if stays else here.size,
        reason="; ".join(reasons),
    )


_REMEDY = (
    "run the same restore again; or drop the collection, then gc with access to Milvus removes the journal"
)


@frozen
class _Removal:
    storage: Storage
    run: Run
    ask: Ask | None
    pace: LeasePace
    grace: timedelta

    def of(self, item: Leftover) -> Leftover:
        if item.outcome == "kept":
            return item
        targets, what = _targets(self.storage, self.run, item.name), f"removal of {item.name}"
        try:
            with hold_targets(self.storage, targets, what, self.run, pace=self.pace) as claim:
                if not claim.is_held:
                    return _kept(item, "no lease can be written, so a restore may be at work there")
                return self._under(claim, item)
        except Busy as busy:
            return _kept(item, busy.message)
        except MbkError as error:
            if concerns_everything(error):
                raise
            return replace(item, outcome="failed", reason=error.message)

    def _under(self, claim: Lease, item: Leftover) -> Leftover:
        storage, run, prefix = FencedStorage(self.storage, claim, lambda _: False), self.run, item.name
        here = _look(storage, run, prefix)
        if not Age.told(storage, run, claim.key, self.grace).is_over(here.newest) and here.objects:
            return _kept(item, "it was written to meanwhile")
        if any(map(Catalog(storage, run).exists, _originals(prefix, here.kept))):
            return _kept(item, "journals that are kept here are still needed")
        stays = _stays(storage, run, self.ask, here)
        own, journal = _own(prefix), f"{prefix}{layout.MANIFEST}"
        delete_below(storage, prefix, run, lambda entry: own(entry.key) and entry.key != journal)
        clean(storage, run, prefix)
        if not stays:
            run.retry.call(f"delete {journal}", storage.delete, [journal])
        left = _look(storage, run, prefix)
        if left.copies if stays else left.objects:
            return replace(
                item, outcome="failed", reason="the storage confirmed the deletion without deleting"
            )
        told = _told(item.location, prefix, here, stays=stays)
        return replace(told, outcome="removed" if told.objects or not stays else "kept")


def _kept(item: Leftover, reason: str) -> Leftover:
    return replace(item, outcome="kept", reason=reason)


# -- looking -----------------------------------------------------------------------------------------------------------


def _prefixes(storage: Storage, run: Run) -> list[str]:
    """Directories whose names a restore makes."""
    root = storage.location.root
    found = listing.level(storage, run, root).prefixes
    return sorted(prefix for prefix in found if layout.staged_targets(prefix[len(root) : -1]))


def _look(storage: Storage, run: Run, prefix: str) -> _Directory:
    own, journal = _own(prefix), f"{prefix}{layout.MANIFEST}"

    def look(entries: Iterator[ObjectInfo]) -> _Directory:
        objects = copies = size = copied = strangers = 0
        newest, is_dated = _EVER, True
        for entry in entries:
            if not own(entry.key):
                strangers += 1
                continue
            objects, size = objects + 1, size + entry.size
            if entry.key != journal:
                copies, copied = copies + 1, copied + entry.size
            newest = max(newest, entry.modified or newest)
            is_dated &= entry.modified is not None
        kept = _read(storage, run, journal) if objects > copies else _Kept()
        return _Directory(
            objects=objects,
            copies=copies,
            size=size,
            copied=copied,
            newest=newest if is_dated else None,
            strangers=strangers,
            kept=kept,
        )

    return listing.consume(storage, run, look, prefix)


def _own(prefix: str) -> Callable[[str], bool]:
    """Whether a key below the prefix is one that restores make."""
    return lambda key: layout.is_staged(key[len(prefix) :])


def _read(storage: Storage, run: Run, key: str) -> _Kept:
    """An empty one if it cannot be decoded: a restore takes it for nothing, too."""
    try:
        return codec.decode(Catalog(storage, run).read_file(key), _Kept, where=key)
    except (ObjectNotFound, InvalidBackup):
        return _Kept()


def _stays(storage: Storage, run: Run, ask: Ask | None, here: _Directory) -> bool:
    """Whether the journal tells of something in Milvus that is there, or may be."""
    if not here.is_begun or _of(here.kept) in _done(storage, run):
        return False
    database, _, name = here.kept.target.partition(".")
    names = [*filter(None, (name, here.kept.beside, here.kept.aside))]
    if ask is None or not names:
        return True
    try:
        milvus = ask()
        return any(milvus.inventory.has_collection(database, name) for name in names)
    except Interrupted:
        raise
    except MbkError:
        return True  # nobody tells


def _of(journal: Journal) -> tuple[str, str]:
    return journal.backup_id, journal.target


def _done(storage: Storage, run: Run) -> set[tuple[str, str]]:
    """Backup and target of the restores that are done, and were killed when only their journals were left."""
    ended = filter(_ENDED.fullmatch, _prefixes(storage, run))
    return {
        _of(journal)
        for prefix in ended
        for journal in _read(storage, run, f"{prefix}{layout.MANIFEST}").journals
    }


def _originals(ended: str, kept: _Kept) -> Iterator[str]:
    """The keys of the journals that a directory of a restore that is done has copies of."""
    start = ended.rpartition("-ended-")[0]
    for journal in kept.journals:
        yield f"{start}-{journal.target.replace('.', '-', 1)}/{layout.MANIFEST}"


def _targets(storage: Storage, run: Run, prefix: str) -> list[str]:
    """All that a restore which works in the directory may have claimed."""
    kept = _read(storage, run, f"{prefix}{layout.MANIFEST}")
    named = layout.staged_targets(prefix[len(storage.location.root) : -1])
    told = (journal.target for journal in (kept, *kept.journals))
    return sorted({*named, *filter(None, told)})
