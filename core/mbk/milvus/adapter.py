"""The Milvus port over gRPC, and over REST for what only REST can do: for servers from 2.2 on."""

from __future__ import annotations

from mbk.milvus.access import Access
from mbk.milvus.definitions import Definitions
from mbk.milvus.imports import Imports
from mbk.milvus.inventory import Inventory
from mbk.milvus.management import GcPause
from mbk.milvus.points import Points
from mbk.milvus.rows import Rows
from mbk.milvus.segments import Segments
from mbk.milvus.server import Server
from mbk.milvus.snapshots import Snapshots
from mbk.ports.milvus.values import Feature


class MilvusAdapter:
    """Implements :class:`mbk.ports.milvus.server.Milvus`: one object a role over ``server``."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.inventory = Inventory(server)
        self.rows = Rows(server)
        self.points = Points(server)
        self.segments = Segments(server)
        self.gc = GcPause(server)
        self.access = Access(server)
        self.definitions = Definitions(server)
        self.imports = Imports(server)
        self.snapshots = Snapshots(server)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._server.target!r}, {self.version!r})"

    @property
    def version(self) -> str:
        return self._server.version

    @property
    def features(self) -> frozenset[Feature]:
        return self._server.features

    def close(self) -> None:
        self._server.close()
