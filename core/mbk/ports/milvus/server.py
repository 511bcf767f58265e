"""The Milvus port: one running server, as the sum of its roles.

Who needs one role asks for that one (:mod:`mbk.ports.milvus.roles`), not for the server.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mbk.ports.milvus.roles import (
    Access,
    Definitions,
    GcPause,
    Imports,
    Inventory,
    Points,
    Rows,
    Segments,
    Snapshots,
)
from mbk.ports.milvus.values import Feature


@runtime_checkable
class Milvus(Protocol):
    @property
    def version(self) -> str:
        """As the server reports it, ``v2.3.5-lite``."""

    @property
    def features(self) -> frozenset[Feature]:
        """Those that its version promises and that it has not refused since."""

    @property
    def inventory(self) -> Inventory: ...

    @property
    def rows(self) -> Rows: ...

    @property
    def points(self) -> Points: ...

    @property
    def segments(self) -> Segments: ...

    @property
    def gc(self) -> GcPause: ...

    @property
    def access(self) -> Access: ...

    @property
    def definitions(self) -> Definitions: ...

    @property
    def imports(self) -> Imports: ...

    @property
    def snapshots(self) -> Snapshots: ...

    def close(self) -> None: ...
