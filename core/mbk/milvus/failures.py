"""What went wrong, in our words: gRPC errors and the status messages of servers from 2.2 on become `mbk.errors`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mbk.errors import (
    AlreadyExists,
    AuthenticationFailed,
    CollectionExists,
    CollectionNotFound,
    MbkError,
    MilvusError,
    MilvusUnavailable,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unsupported,
)
from mbk.milvus.proto import common, grpc

MAX_REASON = 400
CHECK_LOGIN = "check milvus.user and milvus.password"

# Codes that servers have sent since 2.3; 0 and 65535 say nothing, the text does.
_RATE_LIMIT = 8
_COLLECTION_NOT_FOUND = 100
_DATABASE_NOT_FOUND = 800
_UNKNOWN = (0, 65535)

#: The second is what DataCoord says of too many import jobs (milvus: internal/datacoord/import_util.go).
_LIMITED = re.compile(r"rate limit exceeded|number of jobs has reached the limit", re.I)
_NO_COLLECTION = re.compile(r"CollectionNotExists|can't find collection|collection not (found|exists)", re.I)
_NO_DATABASE = re.compile(r"database not found|database:\S* not found", re.I)
_BAD_LOGIN = re.compile(r"auth check failure|missing authorization", re.I)
_TAKEN = re.compile(r"already exist|has existed", re.I)
_TAKEN_COLLECTION = re.compile(r"create duplicate collection", re.I)
_RPC_PREFIX = re.compile(r".*\bdesc = ", re.S)
_CODE_PREFIX = re.compile(r"^(code: \w+, reason: )+")


def one_line(reason: str) -> str:
    """A server's reason without stack traces and nested prefixes, in one line of bounded length."""
    inner = _CODE_PREFIX.sub("", _RPC_PREFIX.sub("", reason).strip())
    line = " ".join(inner.split())
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"


def check(status: Any, what: str) -> None:
    """Raise what ``status`` says unless it is a success: old servers fill only ``error_code``, newer ones both."""
    if status.code == 0 and status.error_code == 0:
        return
    raise _from_status(status, what)


def _from_status(status: Any, what: str) -> MbkError:
    reason = one_line(status.reason or status.detail or common.ErrorCode.Name(status.error_code))
    message, code = f"{what}: {reason}", status.code or status.error_code
    says_little = status.code in _UNKNOWN
    if status.code == _RATE_LIMIT or status.error_code == common.RateLimit or _LIMITED.search(reason):
        return RateLimited(message, server_code=code)
    if status.code == _DATABASE_NOT_FOUND or (says_little and _NO_DATABASE.search(reason)):
        return NotFound("{what}: there is no such database", code="such-database", what=what)
    if status.code == _COLLECTION_NOT_FOUND or (says_little and _NO_COLLECTION.search(reason)):
        return CollectionNotFound("{what}: there is no such collection", code="such-collection", what=what)
    if _BAD_LOGIN.search(reason):
        return AuthenticationFailed(message, hint=CHECK_LOGIN)
    if status.error_code == common.PermissionDenied:
        return PermissionDenied(message)
    if _TAKEN_COLLECTION.search(reason):
        return CollectionExists(message)
    if _TAKEN.search(reason):
        return AlreadyExists(message)
    return MilvusError(message, server_code=code, retryable=status.retriable)


def from_rpc(error: Any, what: str, target: str) -> MbkError:
    """The gRPC ``error`` of a call that was to do ``what`` on the server at ``target`` (``host:port``)."""
    code, details = error.code(), error.details() or ""
    if _BAD_LOGIN.search(details) or code == grpc.StatusCode.UNAUTHENTICATED:
        return AuthenticationFailed(
            "Milvus at {target} refuses the login: {one_line}",
            code="milvus-refuses-login",
            target=target,
            one_line=one_line(details),
            hint=CHECK_LOGIN,
        )
    if code == grpc.StatusCode.UNAVAILABLE:
        return _unavailable(details, target)
    message = f"{what}: {one_line(details)} (Milvus at {target})"
    make: Callable[[str], MbkError] = _BY_CODE.get(code, MilvusError)
    return make(message)


def _slow(message: str) -> MbkError:
    return MilvusUnavailable(message.replace("Deadline Exceeded", "no answer in time"))


_BY_CODE: dict[Any, Callable[[str], MbkError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: _slow,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: Unsupported,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
}

# What gRPC's text contains, what that means, what to do. Seen with grpcio 1.85 against Milvus 2.3.5.
_TLS_FAILURES = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", "set milvus.caCertPath to its CA"),
    ("Hostname Verification", "its certificate is for another name", "set milvus.serverName to that name"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS", "set milvus.tlsMode to disabled (0)"),
    (
        "security handshaker",
        "the certificates cannot be used",
        "check the files of milvus.caCertPath and mtls*Path",
    ),
    ("TSI_", "the TLS handshake failed", "it may want a client certificate: milvus.tlsMode mutual (2)"),
)


def _unavailable(details: str, target: str) -> MilvusUnavailable:
    for text, meaning, hint in _TLS_FAILURES:
        if text in details:
            # Unlike a server that is away, settings that do not fit stay so.
            return MilvusUnavailable(
                "Milvus at {target}: {meaning}",
                code="milvus",
                target=target,
                meaning=meaning,
                hint=hint,
                retryable=False,
            )
    hint = "is it running, and are milvus.address and milvus.port right?"
    if "Socket closed" in details:
        hint = "if it speaks TLS, set milvus.tlsMode"
    reason = one_line(details.rpartition("last error: ")[2]).replace(f"ipv4:{target}: ", "")
    return MilvusUnavailable(
        "Milvus at {target} does not answer ({reason})",
        code="milvus-does-answer",
        target=target,
        reason=reason,
        hint=hint,
    )
