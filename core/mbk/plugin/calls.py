"""A wire as `ObjectStorage` and its uploads call it: opened at the first request, its failures told in one way."""

from __future__ import annotations

from contextlib import AbstractContextManager
from threading import Lock
from typing import Generic, TypeVar

from mbk.plugin.conditions import no_copy_from
from mbk.plugin.failures import Place
from mbk.plugin.keys import require_key
from mbk.plugin.wire import CopiesFrom, Wire
from mbk.ports.storage import Location, Storage

AnyWire = TypeVar("AnyWire", bound=Wire, covariant=True)


class Calls(Generic[AnyWire]):
    """Contexts around the requests of a wire. Thread-safe. ``doing`` continues "cannot"."""

    def __init__(self, wire: AnyWire, location: Location) -> None:
        self._wire = wire
        # Asked of a protocol this takes 25 µs, and each copy would ask.
        self._chooses = wire if isinstance(wire, CopiesFrom) else None
        self.location = location
        self.place = Place.of(location)
        self._lock = Lock()
        self._is_open = False

    @property
    def wire(self) -> AnyWire:
        return self._wire

    def on_bucket(self, doing: str) -> AbstractContextManager[None]:
        self._open()
        return self.wire.failures.guard(self.place, doing)

    def on_key(self, doing: str, key: str, *, streaming: bool = False) -> AbstractContextManager[None]:
        self.require_key(key)
        self._open()
        return self.wire.failures.guard(self.place, doing, key, streaming=streaming)

    def on_source(self, doing: str, source: Storage, key: str) -> AbstractContextManager[None]:
        """Around a copy: what fails is told of the source. `Unsupported` where it cannot be copied from."""
        if not self.copies_from(source):
            raise no_copy_from(source.location, self.location)
        place = Place.of(source.location)
        require_key(key, place, self.wire.fault_of_key(key))
        self._open()
        return self.wire.failures.guard(place, doing, key)

    def copies_from(self, source: Storage) -> bool:
        if self._chooses is not None:
            return self._chooses.copies_from(source)
        return self.location.same_service(source.location)

    def require_key(self, key: str) -> None:
        require_key(key, self.place, self.wire.fault_of_key(key))

    def _open(self) -> None:
        if self._is_open:
            return
        with self._lock, self.wire.failures.guard(self.place, "open"):
            self.wire.open()
            self._is_open = True
