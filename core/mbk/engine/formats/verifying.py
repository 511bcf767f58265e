"""What a format needs to verify the objects of a collection, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mbk.engine.repository.catalog import Committed
from mbk.engine.repository.detailed import DetailedCollection
from mbk.engine.repository.record import Record
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.digests import cheapest
from mbk.engine.transfer.reading import Content, ObjectReader
from mbk.errors import AccessError, InvalidBackup, ObjectArchived, ObjectNotFound, UsageError
from mbk.frozen import frozen
from mbk.model.events import ObjectVerified
from mbk.model.objects import ObjectRecord
from mbk.model.records import Segment
from mbk.model.reports import Finding
from mbk.model.states import FindingKind
from mbk.ports.storage import ObjectInfo, Storage

T = TypeVar("T")

#: The code of the refusal to read what Milvus has encrypted: only Milvus can.
ENCRYPTED = "binlog-encrypted"


@frozen(kw_only=True)
class Objects:
    """The objects of one collection, by key relative to the backup's prefix: which it must have, and which are there."""

    expected: Mapping[str, ObjectRecord]
    present: Mapping[str, ObjectInfo]


@frozen(kw_only=True)
class Unit:
    """Objects that are checked together: those of a segment, None for objects of no segment that the metadata knows."""

    keys: tuple[str, ...]
    segment: Segment | None = None

    @property
    def rows(self) -> int | None:
        """The rows that the segment has according to the metadata."""
        return None if self.segment is None or self.segment.is_l0 else self.segment.num_of_rows


@dataclass(slots=True)
class Checked:
    """What one unit came to; the counts as in `VerifiedCollection`. ``digests``: of the objects read, by key."""

    read: int = 0
    read_size: int = 0
    proven: int = 0
    parsed: int = 0
    findings: list[Finding] = field(default_factory=list)
    digests: dict[str, Mapping[str, str]] = field(default_factory=dict)


@frozen(kw_only=True)
class UnitReader:
    """Reads the objects of one unit, one after the other; what is wrong with one is a finding of ``checked``.

    ``kinds``: digests to compute besides the one that is compared.
    """

    reader: ObjectReader
    objects: Objects
    unit: Unit
    label: str
    prefix: str
    kinds: frozenset[str] = frozenset()
    checked: Checked = field(default_factory=Checked)

    @property
    def run(self) -> Run:
        return self.reader.run

    @property
    def _segment(self) -> int | None:
        return self.unit.segment.segment_id if self.unit.segment else None

    def find(self, kind: FindingKind, key: str, detail: str) -> None:
        self.checked.findings.append(
            Finding(kind, detail, key, self.label, segment=self._segment, rows=self.unit.rows)
        )

    def read(self, key: str, parse: Callable[[Content, bool], T | None]) -> T | None:
        """What ``parse`` makes of an object, None if it is not what was recorded, or cannot be read or parsed.

        ``parse`` gets the content, and whether a recorded digest proves it; it returns None for what it does not parse.
        An object that is missing or has another size was found by the listing, and is not read.
        """
        entry, present = self.objects.expected[key], self.objects.present.get(key)
        if present is None or present.size != entry.size:
            return None
        with self._findings(key):
            kinds = self.kinds | _one_of(entry.digests)
            for is_last in (False, True):
                with self.reader.read(self.prefix + key, entry.size, kinds) as content:
                    difference = _difference(entry, content)
                    if difference and not is_last:
                        continue  # a first reading may have been wrong
                    self._count(key, content)
                    if difference:
                        self.find(FindingKind.DAMAGED, key, difference)
                        return None
                    proven = not entry.digests.keys().isdisjoint(content.digests)
                    self.checked.proven += proven
                    parsed = parse(content, proven)
                    self.checked.parsed += parsed is not None
                    return parsed
        return None

    def _count(self, key: str, content: Content) -> None:
        self.checked.read += 1
        self.checked.read_size += content.size
        self.checked.digests[key] = content.digests
        self.run.emit(ObjectVerified(collection=self.label, key=key, size=content.size))

    @contextmanager
    def _findings(self, key: str) -> Iterator[None]:
        """What concerns one object becomes a finding; everything else passes."""
        try:
            yield
        except ObjectNotFound:
            self.find(FindingKind.MISSING, key, "it disappeared while the backup was verified")
        except (AccessError, ObjectArchived) as error:
            self.find(FindingKind.UNREADABLE, key, error.message)
        except InvalidBackup as error:
            self.find(FindingKind.UNPARSABLE, key, error.message)
        except UsageError as error:
            if error.code != ENCRYPTED:
                raise


def _difference(entry: ObjectRecord, content: Content) -> str:
    """What of the object is not as it was recorded; empty if nothing is."""
    if content.size != entry.size:
        return f"{content.size} bytes were read instead of {entry.size}"
    for kind in entry.digests.keys() & content.digests.keys():
        if entry.digests[kind] != content.digests[kind]:
            return f"its {kind} is {content.digests[kind]} instead of {entry.digests[kind]}"
    return ""


def _one_of(digests: Mapping[str, str]) -> frozenset[str]:
    """The kind to compare by; none if this process cannot compute any."""
    kind = cheapest(digests)
    return frozenset({kind} if kind else ())


class Verifying(Protocol):
    """How the objects of a format are verified. Several threads may call it.

    ``shared``: several collections may have objects below one prefix.
    """

    @property
    def shared(self) -> bool: ...

    def prefixes(
        self, committed: Committed, record: Record | None, collection: DetailedCollection
    ) -> tuple[str, ...]:
        """Below which a collection's objects lie."""

    def listed(
        self, collection: DetailedCollection, present: Mapping[str, ObjectInfo]
    ) -> tuple[dict[str, ObjectRecord], list[Finding]]:
        """Without a record: the objects that the metadata names, by key, and what contradicts it besides these."""

    def units(self, collection: DetailedCollection, keys: Iterable[str]) -> list[Unit]:
        """The objects by what they belong to, in an order that is the same each time."""

    def sample(
        self,
        storage: Storage,
        run: Run,
        committed: Committed,
        record: Record | None,
        collection: DetailedCollection,
        count: int,
    ) -> tuple[str, list[int | str]]:
        """The name of the primary key, and up to ``count`` of its values that a restored collection must have; none where
        they cannot be read."""

    def check(self, unit: UnitReader) -> None:
        """Reads the objects of a unit, parses them, and compares them with each other and with the metadata."""
