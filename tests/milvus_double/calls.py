"""How a gRPC call reaches the double: parts, hooks, and one wrapper around every call.

A part is a class whose methods are named as RPCs and take ``(request, call)``; ``server.PARTS`` lists them. What no part
has, or the played version lacks, answers UNIMPLEMENTED. A part raises `Refused` for an error status, `RpcFailure` for a
failed call. Every call runs under the state's lock, streams do not.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from google.protobuf.message_factory import GetMessageClass
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2

from tests.milvus_double.dialect import older
from tests.milvus_double.objects import sort_flushed
from tests.milvus_double.passwords import matches
from tests.milvus_double.refusal import Refused, RpcFailure
from tests.milvus_double.state import DEFAULT, State
from tests.milvus_double.versions import ServerVersion
from tests.milvus_double.words import input_status, plain_status

METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name
#: Calls that a client makes before it has proven who it is.
OPEN_CALLS = frozenset({"Connect"})


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, and in which database: that of the metadata ``dbname``, or of the request where it names one."""

    database: str = DEFAULT
    user: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Hook(Protocol):
    """Looks at calls, and may raise `Refused` or `RpcFailure`: before, nothing has happened; after, all of it has."""

    def before(self, rpc: str, request: Any) -> None: ...

    def after(self, rpc: str, request: Any, response: Any) -> None: ...


class Part:
    """A group of RPCs."""

    def __init__(self, state: State) -> None:
        self.state = state


def handlers(parts: list[Part], state: State, hooks: list[Hook]) -> dict[str, Callable[..., Any]]:
    """RPC name -> what the servicer calls."""
    found: dict[str, Callable[..., Any]] = {}
    for part in parts:
        for name, method in METHODS.items():
            handle = getattr(part, name, None)
            if handle is None or not state.version.implements(name):
                continue
            wrap = _stream if method.client_streaming else _unary
            found[name] = wrap(name, handle, state, hooks)
    return found


def _unary(name: str, handle: Callable[..., Any], state: State, hooks: list[Hook]) -> Callable[..., Any]:
    answer_type = GetMessageClass(METHODS[name].output_type)
    status_name = _status_name(answer_type)

    def run(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            call = _call(name, request, context, state)
            for hook in list(hooks):
                hook.before(name, request)
            with state.lock:
                sort_flushed(state)
                response = handle(request, call)
            if status_name:
                getattr(response, status_name).SetInParent()
            for hook in list(hooks):
                hook.after(name, request, response)
        except Refused as refused:
            return refusal_answer(answer_type, refused, state.version, name)
        except RpcFailure as failure:
            context.abort(failure.code, failure.details)
        return response

    return run


def _stream(name: str, handle: Callable[..., Any], state: State, hooks: list[Hook]) -> Callable[..., Any]:
    def run(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            call = _call(name, None, context, state)
            for hook in list(hooks):
                hook.before(name, None)
            yield from handle(requests, call)
        except RpcFailure as failure:
            context.abort(failure.code, failure.details)

    return run


def _call(name: str, request: Any, context: grpc.ServicerContext, state: State) -> Call:
    metadata = {key: str(value) for key, value in context.invocation_metadata()}
    user = _user(metadata) if not state.authorization or name in OPEN_CALLS else _checked(metadata, state)
    named = getattr(request, "db_name", "") or getattr(request, "dbName", "")
    return Call(database=named or metadata.get("dbname", "") or DEFAULT, user=user, metadata=metadata)


def _login(metadata: Mapping[str, str]) -> tuple[str, str]:
    try:
        text = base64.b64decode(metadata.get("authorization", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    user, _, password = text.partition(":")
    return user, password


def _user(metadata: Mapping[str, str]) -> str:
    return _login(metadata)[0]


def _checked(metadata: Mapping[str, str], state: State) -> str:
    """As ``internal/proxy/authentication_interceptor.go``: UNAUTHENTICATED, with this text."""
    user, password = _login(metadata)
    known = state.rbac.users.get(user)
    if known is None or not matches(known, password):
        raise RpcFailure(
            grpc.StatusCode.UNAUTHENTICATED,
            "auth check failure, please check username and password are correct"
            if "authorization" in metadata
            else "missing authorization in header",
        )
    return user


def status(refused: Refused, version: ServerVersion, rpc: str = "") -> common.Status:
    """2.2 fills the older code alone."""
    if version.number < (2, 3, 0):
        return older(refused, rpc)
    if version.has("input_errors"):
        return input_status(refused, rpc)
    return plain_status(refused, version, rpc)


def refusal_answer(answer_type: Any, refused: Refused, version: ServerVersion, rpc: str = "") -> Any:
    filled = status(refused, version, rpc)
    if answer_type is common.Status:
        return filled
    answer = answer_type() if refused.answer is None else refused.answer
    getattr(answer, _status_name(answer_type)).CopyFrom(filled)
    return answer


def _status_name(answer_type: Any) -> str:
    """What an answer calls its status: ``status`` but for one; nothing where the answer is one."""
    found = (
        item.name for item in answer_type.DESCRIPTOR.fields if item.message_type is common.Status.DESCRIPTOR
    )
    return next(found, "")
