"""How the double says no: a server's own status, with both codes that clients look at.

``code`` is that of ``pkg/util/merr/errors.go`` (2.3 and later fill it), ``error_code`` the older enumeration
``common.ErrorCode``, which 2.2 fills alone.
"""

from __future__ import annotations

from typing import Any

import grpc
from pymilvus.grpc_gen import common_pb2 as common


class Refused(Exception):
    """A request that the server answers with an error status."""

    def __init__(
        self,
        reason: str,
        *,
        code: int = 65535,
        error_code: int = common.UnexpectedError,
        retriable: bool = False,
        detail: str = "",
        answer: Any = None,
    ) -> None:
        """``answer``: what the response holds besides the status. ``detail`` where it is not the reason."""
        super().__init__(reason)
        self.detail = detail or reason
        self.answer = answer
        self.reason = reason
        self.code = code
        self.error_code = error_code
        self.retriable = retriable


class RpcFailure(Exception):
    """A call that ends with a status of gRPC itself instead of an answer: UNIMPLEMENTED, UNAVAILABLE and the like."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def no_collection(name: object, database: str = "default") -> Refused:
    return Refused(
        f"collection not found[database={database}][collection={name}]",
        code=100,
        error_code=common.CollectionNotExists,
    )


def no_database(name: str) -> Refused:
    return Refused(f"database not found[database={name}]", code=800)


def no_partition(name: object) -> Refused:
    return Refused(f"partition not found[partition={name}]", code=200, error_code=common.MetaFailed)


def no_index(name: str, *, kind: str = "indexName") -> Refused:
    return Refused(f"index not found[{kind}={name}]", code=700, error_code=common.IndexNotExist)


def invalid(reason: str) -> Refused:
    """merr.ErrParameterInvalid. Before 2.4 most checks of the proxy had no code of their own (`calls.status`)."""
    return Refused(reason, code=1100, error_code=common.IllegalArgument)


def rate_limited(rate: float = 1) -> Refused:
    return Refused(
        f"request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate={rate}]",
        code=8,
        error_code=common.RateLimit,
        retriable=True,
    )
