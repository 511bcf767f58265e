"""Maps gRPC errors and the status messages of servers from 2.2 on to `mbk.errors`."""

from __future__ import annotations

import re
from typing import Any

from mbk.errors import (
    AlreadyExists,
    AuthenticationFailed,
    CollectionExists,
    CollectionNotFound,
    ImportFailed,
    MbkError,
    MilvusError,
    MilvusUnavailable,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unsupported,
)
from mbk.milvus.proto import common, grpc
from mbk.milvus.proxy import proxy_of

MAX_REASON = 400
CHECK_LOGIN = "check milvus.user and milvus.password"

# Codes that servers have sent since 2.3; 0 and 65535 mean nothing, only the text does.
_RATE_LIMIT = 8
_COLLECTION_NOT_FOUND = 100
_DATABASE_NOT_FOUND = 800
_UNKNOWN = (0, 65535)

#: The second is DataCoord's error for too many import jobs (milvus: internal/datacoord/import_util.go).
_LIMITED = re.compile(r"rate limit exceeded|number of jobs has reached the limit", re.I)
_NO_COLLECTION = re.compile(r"CollectionNotExists|can't find collection|collection not (found|exists)", re.I)
_NO_DATABASE = re.compile(r"database not found|database:\S* not found", re.I)
_BAD_LOGIN = re.compile(r"auth check failure|missing authorization", re.I)
_TAKEN = re.compile(r"already exist|has existed", re.I)
#: The name may be that of an alias; 2.5.27 and 2.6.19 each say so in words of their own.
_TAKEN_COLLECTION = re.compile(
    r"create duplicate collection|conflicts with an existing alias|alias and collection name conflict", re.I
)
#: A message that is the server's own reason.
_SAID = "{operation}: {reason}"
_RPC_PREFIX = re.compile(r".*\bdesc = ", re.S)
_CODE_PREFIX = re.compile(r"^(code: \w+, reason: )+")


def one_line(reason: str) -> str:
    """A server's reason without stack traces and nested prefixes, in one line of bounded length."""
    inner = _CODE_PREFIX.sub("", _RPC_PREFIX.sub("", reason).strip())
    line = " ".join(inner.split())
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"


def check(status: Any, what: str) -> None:
    """Raises the error in ``status``, if any: old servers set only ``error_code``, newer ones both codes."""
    if status.code == 0 and status.error_code == 0:
        return
    raise _from_status(status, what)


def _from_status(status: Any, what: str) -> MbkError:
    reason = one_line(status.reason or status.detail or common.ErrorCode.Name(status.error_code))
    server_code = status.code or status.error_code
    by_text = status.code in _UNKNOWN
    if status.code == _RATE_LIMIT or status.error_code == common.RateLimit or _LIMITED.search(reason):
        return RateLimited(
            _SAID, code="milvus-rate-limited", operation=what, reason=reason, server_code=server_code
        )
    if status.code == _DATABASE_NOT_FOUND or (by_text and _NO_DATABASE.search(reason)):
        return NotFound(
            "{operation}: the database does not exist", code="milvus-database-missing", operation=what
        )
    if (
        status.code == _COLLECTION_NOT_FOUND
        or status.error_code == common.CollectionNotExists
        or (by_text and _NO_COLLECTION.search(reason))
    ):
        return no_such_collection(what)
    if _BAD_LOGIN.search(reason):
        return login_refused(what, reason)
    if status.error_code == common.PermissionDenied:
        return forbidden(what, reason)
    if _TAKEN_COLLECTION.search(reason):
        return CollectionExists(_SAID, code="milvus-collection-exists", operation=what, reason=reason)
    if _TAKEN.search(reason):
        return AlreadyExists(_SAID, code="milvus-object-exists", operation=what, reason=reason)
    return MilvusError(
        _SAID,
        code="milvus-request-failed",
        operation=what,
        reason=reason,
        server_code=server_code,
        retryable=status.retriable,
    )


def no_such_collection(operation: str) -> CollectionNotFound:
    return CollectionNotFound(
        "{operation}: the collection does not exist", code="milvus-collection-missing", operation=operation
    )


def login_refused(operation: str, reason: str) -> AuthenticationFailed:
    return AuthenticationFailed(
        "{operation}: {reason}",
        code="milvus-login-refused",
        operation=operation,
        reason=reason,
        hint=CHECK_LOGIN,
    )


def forbidden(operation: str, reason: str) -> PermissionDenied:
    return PermissionDenied(
        "{operation}: {reason}", code="milvus-permission-denied", operation=operation, reason=reason
    )


def unsupported(operation: str, version: str, feature: str) -> Unsupported:
    return Unsupported(
        "{operation}: Milvus {version} does not support {feature}",
        code="milvus-feature-missing",
        operation=operation,
        version=version,
        feature=feature,
    )


def l0_disabled(operation: str) -> Unsupported:
    return Unsupported(
        "{operation}: Milvus does not import L0 segments",
        code="l0-import-disabled",
        operation=operation,
        hint="run mbk l0compact and restore its result, or set dataCoord.import.enableL0Import in Milvus",
    )


def no_job(operation: str) -> ImportFailed:
    """The server accepted a request for a job without returning its id."""
    return ImportFailed(
        "{operation}: the server returned no job id", code="job-id-missing", operation=operation
    )


def unknown_job(operation: str, reason: str = "the job does not exist") -> ImportFailed:
    return ImportFailed("{operation}: {reason}", code="job-unknown", operation=operation, reason=reason)


def from_rpc(error: Any, what: str, target: str) -> MbkError:
    """Maps the gRPC ``error`` of the call ``what`` to the server at ``target`` (``host:port``)."""
    code, details = error.code(), error.details() or ""
    if _BAD_LOGIN.search(details) or code == grpc.StatusCode.UNAUTHENTICATED:
        return login_refused(f"log in to Milvus at {target}", one_line(details))
    if code == grpc.StatusCode.UNAVAILABLE:
        return _unavailable(details, target)
    kind, condition = _BY_CODE.get(code, (MilvusError, "milvus-call-failed"))
    return kind(
        "{operation}: {reason} (Milvus at {address})",
        code=condition,
        operation=what,
        reason=one_line(details).replace("Deadline Exceeded", "timed out"),
        address=target,
    )


_BY_CODE: dict[Any, tuple[type[MbkError], str]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (MilvusUnavailable, "milvus-call-timeout"),
    grpc.StatusCode.PERMISSION_DENIED: (PermissionDenied, "milvus-call-forbidden"),
    grpc.StatusCode.UNIMPLEMENTED: (Unsupported, "milvus-call-unknown"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (RateLimited, "milvus-call-limited"),
}

# A part of gRPC's text, what it means, what to do. Seen with grpcio 1.85 and Milvus 2.3.5.
_TLS_FAILURES = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", "set milvus.caCertPath to its CA"),
    (
        "Hostname Verification",
        "its certificate is for another name",
        "set milvus.serverName to the name in the certificate",
    ),
    ("WRONG_VERSION_NUMBER", "it does not use TLS", "set milvus.tlsMode to disabled (0)"),
    (
        "security handshaker",
        "the certificates cannot be used",
        "check the files in milvus.caCertPath, milvus.mtlsCertPath and milvus.mtlsKeyPath",
    ),
    ("TSI_", "the TLS handshake failed", "it may require a client certificate: milvus.tlsMode mutual (2)"),
)


def _unavailable(details: str, target: str) -> MilvusUnavailable:
    for text, meaning, hint in _TLS_FAILURES:
        if text in details:
            # Wrong settings stay wrong, unlike a server that is down.
            return MilvusUnavailable(
                "Milvus at {address}: {reason}",
                code="milvus-tls-failed",
                address=target,
                reason=meaning,
                retryable=False,
                hint=hint,
            )
    hint = "is it running? check milvus.address and milvus.port"
    if "Socket closed" in details:
        hint = "if it uses TLS, set milvus.tlsMode"
    reason = one_line(details.rpartition("last error: ")[2]).replace(f"ipv4:{target}: ", "")
    if proxy := proxy_of(target):
        return MilvusUnavailable(
            "Milvus at {address} does not respond through proxy {proxy}: {reason}",
            code="milvus-unreachable-by-proxy",
            address=target,
            proxy=proxy.place,
            reason=reason,
            variable=proxy.variable,
            host=target.rpartition(":")[0],
            hint="if no proxy leads to Milvus, add {host} to the variable no_proxy; else check {variable}",
        )
    return MilvusUnavailable(
        "Milvus at {address} does not respond: {reason}",
        code="milvus-unreachable",
        address=target,
        reason=reason,
        hint=hint,
    )
