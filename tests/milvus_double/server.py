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
from tests.milvus_double.calls import Hook, Part, handlers
from tests.milvus_double.state import State
from tests.milvus_double.versions import server_version

LOOPBACK = "127.0.0.1"
_SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class MilvusDouble:
    """One running double; a context manager.

    ``storage`` holds its data below ``root``; without one they lie in a directory, ``home`` or a temporary one, and
    ``root`` is empty then, as with Milvus' ``localStorage.path``. ``authorization`` asks for user and password
    (``root`` and ``Milvus`` exist). ``port`` 0 takes a free one.
    """

    def __init__(
        self,
        version: str = "v2.6.12",
        *,
        storage: Storage | None = None,
        root: str = "files",
        home: Path | None = None,
        port: int = 0,
        authorization: bool = False,
        write_version: int | None = None,
    ) -> None:
        self.version = server_version(version)
        self.hooks: list[Hook] = []
        self._home, self._storage, self._root = home, storage, root
        self._port_wanted = port
        self._authorization, self._write_version = authorization, write_version
        self._open = ExitStack()
        self._port = 0
        self._state: State | None = None

    @property
    def state(self) -> State:
        assert self._state is not None, "the double is not running"
        return self._state

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def uri(self) -> str:
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            storage, root = self._store(opening)
            self._state = State(self.version, storage, root, write_version=self._write_version)
            self._state.authorization = self._authorization
            self._serve(opening)
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

    def _serve(self, opening: ExitStack) -> None:
        servicer = _servicer(self._parts(), self.state, self.hooks)
        server = grpc.server(ThreadPoolExecutor(max_workers=16, thread_name_prefix="double"), options=_SIZES)
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(servicer, server)
        self._port = server.add_insecure_port(f"{LOOPBACK}:{self._port_wanted}")
        server.start()
        opening.callback(lambda: server.stop(0.2).wait())

    def _parts(self) -> list[Part]:
        return []


def _servicer(parts: list[Part], state: State, hooks: list[Hook]) -> Any:
    """The generated servicer with the calls that the version has; what is left answers UNIMPLEMENTED by itself."""
    calls = {name: _method(call, name) for name, call in handlers(parts, state, hooks).items()}
    return type("Servicer", (milvus_pb2_grpc.MilvusServiceServicer,), calls)()


def _method(call: Any, name: str) -> Any:
    def method(_self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        return call(request, context)

    method.__name__ = name
    return method
