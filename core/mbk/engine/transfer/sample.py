"""Trying a storage that is only read: by an object that is there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from mbk.engine.transfer.probe import ask
from mbk.errors import Unsupported
from mbk.frozen import frozen
from mbk.model.reports import CheckResult
from mbk.ports.storage import ObjectInfo, Storage

#: One page of a listing: the smallest of these is taken.
_LOOKED_AT = 1000
_LATER = "it is tried once there is something"


@frozen
class Sample:
    """The smallest of the first objects below ``prefix``."""

    storage: Storage
    prefix: str

    def results(self, name: str) -> Iterator[CheckResult]:
        """``name`` is that of the side."""
        yield ask(f"{name}: list", self._list)
        yield ask(f"{name}: read", self._read, optional=_LATER)

    def get(self) -> ObjectInfo:
        """`Unsupported` if there is none."""
        found = min(
            islice(self.storage.list(self.prefix), _LOOKED_AT), key=lambda entry: entry.size, default=None
        )
        if found is None:
            raise Unsupported(
                "nothing is below {prefix!r} in {storage}",
                code="sample-missing",
                prefix=self.prefix,
                storage=self.storage.location,
            )
        return found

    def _list(self) -> str:
        next(iter(self.storage.list(self.prefix)), None)
        return "works"

    def _read(self) -> str:
        found = self.get()
        self.storage.stat(found.key)
        with self.storage.read(found.key, length=1) as chunks:
            b"".join(chunks)
        return "works"
