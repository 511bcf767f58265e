"""A Milvus of which only the wire is real: what a test does not define answers UNIMPLEMENTED by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mbk.config.schema import MilvusSettings
from mbk.milvus import connect
from mbk.milvus.proto import common, grpc, milvus
from mbk.ports.milvus.server import Milvus

Answers = dict[str, Any]


@contextmanager
def serving(version: str, *, settings: Mapping[str, Any] | None = None, **answers: Any) -> Iterator[Milvus]:
    """A client of a server whose methods answer by ``answers``: functions of the request and the call's metadata."""
    from pymilvus.grpc_gen import milvus_pb2_grpc

    methods = {"GetVersion": lambda *_: milvus.GetVersionResponse(version=version), **answers}
    servicer = type("Servicer", (milvus_pb2_grpc.MilvusServiceServicer,), {})()
    for name, answer in methods.items():
        setattr(servicer, name, _method(answer))
    server = grpc.server(ThreadPoolExecutor(4))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = connect(MilvusSettings(address="127.0.0.1", port=port, **(settings or {})))
    try:
        yield client
    finally:
        client.close()
        server.stop(None).wait()


def _method(answer: Any) -> Any:
    return lambda request, context: answer(request, dict(context.invocation_metadata()))


def failed(reason: str, **values: Any) -> Any:
    return common.Status(error_code=common.UnexpectedError, reason=reason, **values)
