"""What belongs to one double besides its state: faults, imports, the HTTP ports, and the parts of gRPC that need them."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.milvus_double.calls import Part
from tests.milvus_double.faults import Faults
from tests.milvus_double.http_port import HttpPort
from tests.milvus_double.import_calls import ImportCalls
from tests.milvus_double.imports import Imports
from tests.milvus_double.management import Management
from tests.milvus_double.rbac import RBAC_PARTS
from tests.milvus_double.replicate import Replication
from tests.milvus_double.rest import Rest
from tests.milvus_double.snapshots import Snapshots
from tests.milvus_double.state import State


class Services:
    """``faults`` is also to be a hook of the gRPC calls. The ports are open, and imports run, while the context is."""

    def __init__(self, state: State, *, rest_port: int = 0, management_port: int = 0) -> None:
        self.faults = Faults()
        self.imports = Imports(state, self.faults)
        self.snapshots = Snapshots(state, self.faults)
        self.replication = Replication(state, self.imports, self.faults)
        self._rest = Rest(state, self.imports).port(rest_port)
        self.gc = Management(state, self.faults)
        self._management = self.gc.port(management_port)
        self._open = ExitStack()
        self._state = state

    @property
    def rest(self) -> HttpPort:
        return self._rest

    @property
    def management(self) -> HttpPort:
        return self._management

    def parts(self) -> list[Part]:
        state = self._state
        rbac = [part(state) for part in RBAC_PARTS]
        return [ImportCalls(state, self.imports), self.snapshots, self.replication, *rbac]

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.callback(self.imports.close)
            opening.callback(self.snapshots.close)
            opening.enter_context(self._rest)
            opening.enter_context(self._management)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
