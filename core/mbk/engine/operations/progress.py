"""How far a verification of contents has come: kept in the backup now and then, so that a killed one is continued."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import msgspec

from mbk.engine.repository import codec, verified
from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.context import Context
from mbk.errors import Interrupted, InvalidBackup, MbkError, ObjectNotFound
from mbk.model import layout
from mbk.model.manifest import VerifyProgress

T = TypeVar("T")


@dataclass(slots=True)
class _Counter:
    """The units of one collection. ``first``: all before it are checked; ``ahead``: those checked after it."""

    first: int = 0
    ahead: set[int] = field(default_factory=set)
    suspects: set[int] = field(default_factory=set)

    def add(self, unit: int) -> None:
        self.ahead.add(unit)
        while self.first in self.ahead:
            self.ahead.discard(self.first)
            self.first += 1


class Progress:
    """A context manager: left in order, it removes what it kept; left by an error, it keeps where it was.

    Several threads may call it. ``kept`` False: nothing is kept.
    """

    def __init__(
        self,
        context: Context,
        catalog: Catalog,
        name: str,
        wanted: VerifyProgress,
        earlier: VerifyProgress | None,
        *,
        kept: bool,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._name = name
        self._wanted = msgspec.structs.replace(wanted, day=earlier.day) if earlier else wanted
        self._kept = kept
        self._lock = threading.Lock()
        self._due = time.monotonic() + context.pace.progress
        self._written = earlier is not None
        self._counters: dict[str, _Counter] = {}
        for collection, first in (earlier.done if earlier else {}).items():
            self._counters[collection] = _Counter(first)
        for number, unit in earlier.suspects if earlier else ():
            self._counters.setdefault(str(number), _Counter()).suspects.add(unit)
        self.resumed = earlier is not None

    @classmethod
    def of(
        cls, context: Context, catalog: Catalog, name: str, wanted: VerifyProgress, *, kept: bool
    ) -> Progress:
        return cls(context, catalog, name, wanted, _begun(catalog, name, wanted) if kept else None, kept=kept)

    @property
    def day(self) -> int:
        """The day whose sample is read."""
        return self._wanted.day

    @property
    def sample(self) -> int:
        return self._wanted.sample

    @property
    def _key(self) -> str:
        return self._catalog.layout(self._name).meta(layout.VERIFYING)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._remove()
        elif self._kept and self._counters:
            self._write()

    def left(self, collection: int, units: Sequence[T]) -> Iterator[tuple[int, T]]:
        """The units that must be checked, with their places: those not seen yet, and those in which something was found."""
        with self._lock:
            counter = self._counters.setdefault(str(collection), _Counter())
            first, suspects = counter.first, frozenset(counter.suspects)
        return ((at, unit) for at, unit in enumerate(units) if at >= first or at in suspects)

    def add(self, collection: int, unit: int, *, suspect: bool) -> None:
        """A unit is checked."""
        with self._lock:
            counter = self._counters[str(collection)]
            counter.add(unit)
            (counter.suspects.add if suspect else counter.suspects.discard)(unit)
            due = self._kept and time.monotonic() >= self._due
            if due:
                self._due = time.monotonic() + self._context.pace.progress
        if due:
            self._write()

    def _now(self) -> VerifyProgress:
        with self._lock:
            return msgspec.structs.replace(
                self._wanted,
                done={collection: counter.first for collection, counter in self._counters.items()},
                suspects=[
                    [int(collection), unit]
                    for collection, counter in self._counters.items()
                    for unit in sorted(counter.suspects)
                ],
            )

    def _write(self) -> None:
        """Without permission to write, a verification that is interrupted starts over."""
        try:
            self._catalog.write_beside(self._name, layout.VERIFYING, msgspec.json.encode(self._now()))
            self._written = True
        except Interrupted:
            raise
        except MbkError as error:
            self._kept = False
            self._context.run.notice(
                "progress-not-stored",
                "an interrupted verification will start over, its progress cannot be kept: {reason}",
                reason=error.message,
            )

    def _remove(self) -> None:
        if not self._written:
            return
        key, run = self._key, self._context.run
        try:
            run.retry.call(f"delete {key}", self._context.backup_storage.delete, [key])
        except Interrupted:
            raise
        except MbkError as error:
            run.notice("progress-left", "{key} stays: {reason}", key=key, reason=error.message)


def _begun(catalog: Catalog, name: str, wanted: VerifyProgress) -> VerifyProgress | None:
    """The progress of an interrupted verification of the same kind, None if there is none to continue."""
    where = catalog.layout(name).meta(layout.VERIFYING)
    try:
        progress = codec.decode(catalog.read_file(where), VerifyProgress, where=where)
    except (ObjectNotFound, InvalidBackup):
        return None
    return progress if verified.continues(progress, wanted) else None
