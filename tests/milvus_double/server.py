"""The protocol double: a Milvus of a given version, over real gRPC and HTTP, with its data in a real object store.

By hand: ``python -m tests.milvus_double --version v2.5.8 --directory DIR``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import grpc
from pymilvus.grpc_gen import milvus_pb2_grpc

from mbk.ports.storage import Storage
from tests.client_cache import forget_servers
from tests.milvus_double.calls import METHODS, Hook, Part, handlers
from tests.milvus_double.collections import Collections
from tests.milvus_double.databases import Aliases, Databases, Server
from tests.milvus_double.faults import Faults
from tests.milvus_double.flushing import Flushing
from tests.milvus_double.imports import Imports
from tests.milvus_double.indexes import Indexes
from tests.milvus_double.objects import collect_garbage, compact, leave_orphans, sort_flushed
from tests.milvus_double.partitions import Loading, Partitions
from tests.milvus_double.queries import Queries
from tests.milvus_double.rows import Rows
from tests.milvus_double.schema_changes import SchemaChanges
from tests.milvus_double.services import Services
from tests.milvus_double.state import Segment, State
from tests.milvus_double.versions import server_version

LOOPBACK = "127.0.0.1"
WORKERS = 32
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # Milvus lets clients ping every 5 s, also between calls; gRPC's own default would send them away for it.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]
PARTS: tuple[type[Part], ...] = (
    Server,
    Databases,
    Collections,
    SchemaChanges,
    Partitions,
    Loading,
    Indexes,
    Aliases,
    Rows,
    Queries,
    Flushing,
)


class MilvusDouble:
    """One running double; a context manager.

    ``storage`` holds its data below ``root``; without one they lie in a directory, ``home`` or a temporary one, and
    ``root`` is empty then, as with Milvus' ``localStorage.path``. ``authorization`` asks for user and password
    (``root`` and ``Milvus`` exist). Port 0 takes a free one. ``write_version`` 3 makes a 3.0 write segments with manifests.
    ``flush_rate`` is how many flushes of a collection a second are let in, 0 for any number; None as the version does.

    ``state`` is what it knows (take its lock), ``faults`` what goes wrong, ``imports`` how imports go, ``hooks`` see every
    call.
    """

    def __init__(
        self,
        version: str = "v2.6.12",
        *,
        storage: Storage | None = None,
        root: str = "files",
        home: Path | None = None,
        port: int = 0,
        rest_port: int = 0,
        management_port: int = 0,
        authorization: bool = False,
        write_version: int | None = None,
        flush_rate: float | None = None,
    ) -> None:
        self.version = server_version(version)
        self.hooks: list[Hook] = []
        self._home, self._storage, self._root = home, storage, root
        self._ports = (port, rest_port, management_port)
        self._authorization, self._write_version = authorization, write_version
        self._flush_rate = flush_rate
        self._open = ExitStack()
        self._port = 0
        self._state: State | None = None
        self._services: Services | None = None

    @property
    def state(self) -> State:
        assert self._state is not None, "the double is not running"
        return self._state

    @property
    def services(self) -> Services:
        assert self._services is not None, "the double is not running"
        return self._services

    @property
    def faults(self) -> Faults:
        return self.services.faults

    @property
    def imports(self) -> Imports:
        return self.services.imports

    @property
    def address(self) -> str:
        """The host for clients, as `EmbeddedMilvus` has it."""
        return LOOPBACK

    @property
    def port(self) -> int:
        return self._port

    @property
    def target(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def uri(self) -> str:
        return f"http://{self.target}"

    @property
    def rest_url(self) -> str:
        """Milvus has it on the port of gRPC, which Python's gRPC cannot share: it is ``milvus.rest.endpoint``."""
        return self.services.rest.url

    @property
    def management_url(self) -> str:
        return self.services.management.url

    @property
    def storage_root(self) -> Path:
        """The directory that holds ``insert_log``, where the data lie in one."""
        return Path(self.state.store.location.bucket) / self.state.root

    # -- what time does to segments ------------------------------------------------------------------------------------

    def compact(self, database: str, collection: str) -> list[Segment]:
        """As `objects.compact`."""
        with self.state.lock:
            return compact(self.state, self.state.collection(database, collection))

    def sort(self) -> None:
        """What was flushed is replaced by sorted segments now, and not within seconds."""
        with self.state.lock:
            self.state.unsorted = [(0.0, *item[1:]) for item in self.state.unsorted]
            sort_flushed(self.state)

    def collect_garbage(self, *, tolerance: float = 0.0) -> int:
        """Removes what was dropped, unless garbage collection is paused; returns how many objects went."""
        with self.state.lock:
            return collect_garbage(self.state, tolerance=tolerance)

    def leave_orphans(self, database: str, collection: str, *, fields: int = 1) -> list[str]:
        """Keys of files in a segment's directories that belong to no upload that ended well."""
        with self.state.lock:
            found = self.state.collection(database, collection).persistent_segments()
            segment = next(item for item in found if not item.is_l0)
            return leave_orphans(self.state, segment, fields=fields)

    def __enter__(self) -> Self:
        port, rest_port, management_port = self._ports
        with ExitStack() as opening:
            storage, root = self._store(opening)
            self._state = State(self.version, storage, root, write_version=self._write_version)
            self._state.authorization = self._authorization
            if self._flush_rate is not None:
                self._state.flush_rate = self._flush_rate
            services = Services(self._state, rest_port=rest_port, management_port=management_port)
            self._services = opening.enter_context(services)
            self.hooks.append(services.faults)
            self._serve(opening, port)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _store(self, opening: ExitStack) -> tuple[Storage, str]:
        if self._storage is not None:
            return self._storage, self._root
        from mbk_local.storage import LocalStorage

        home = self._home or Path(opening.enter_context(TemporaryDirectory(prefix="milvus-double-")))
        home.mkdir(parents=True, exist_ok=True)
        storage = LocalStorage(str(home), mount=str(home))
        opening.callback(storage.close)
        return storage, ""

    def _serve(self, opening: ExitStack, port: int) -> None:
        parts = [*(part(self.state) for part in PARTS), *self.services.parts()]
        servicer = _servicer(parts, self.state, self.hooks)
        workers = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="double")
        server = grpc.server(workers, options=_OPTIONS)
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(servicer, server)
        self._port = server.add_insecure_port(f"{LOOPBACK}:{port}")
        forget_servers()
        server.start()
        opening.callback(lambda: server.stop(0.2).wait())


def _servicer(parts: list[Part], state: State, hooks: list[Hook]) -> Any:
    """The generated servicer with the calls that the version has."""
    found = handlers(parts, state, hooks)
    calls = {name: _method(found.get(name) or _unknown(name), name) for name in METHODS}
    return type("Servicer", (milvus_pb2_grpc.MilvusServiceServicer,), calls)()


def _unknown(name: str) -> Any:
    """In the words of Go's gRPC. The generated method would answer the same, and log a traceback each time."""

    def call(_request: Any, context: grpc.ServicerContext) -> None:
        words = f"unknown method {name} for service milvus.proto.milvus.MilvusService"
        context.abort(grpc.StatusCode.UNIMPLEMENTED, words)

    return call


def _method(call: Any, name: str) -> Any:
    def method(_self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        return call(request, context)

    method.__name__ = name
    return method
