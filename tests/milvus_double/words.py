"""How 2.5 and 2.6 say that a request was refused (run: 2.5.27, 2.6.19).

Refusals are made with the code that 2.4 and later have for them, and with the words of 2.5; until 2.6.19 most checks of the
proxy reach a client without a code of their own, from then on nearly all say that the input is wrong.
"""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2 as common

from tests.milvus_double.refusal import Refused
from tests.milvus_double.versions import ServerVersion

LIMITED, INVALID, MISSING, UNKNOWN = 8, 1100, 1101, 65535
_NO_COLLECTION, _NO_DATABASE = 100, 800
#: Calls of which 2.5 marks a missing collection as the caller's fault: the proxy itself looks it up there.
_MARKED_IN_2_5 = frozenset({"DescribeCollection", "Flush", "Insert", "HybridSearch"})
#: Calls in which a coordinator finds out, and nothing is marked.
_OF_COORDINATORS = frozenset(
    {
        "CreateAlias",
        "CreateCollection",
        "HasPartition",
        "RenameCollection",
        "ShowCollections",
        "ShowPartitions",
    }
)
#: Not implemented, too many requests, not loaded, no index, an import job that failed or is unknown.
_NEVER_MARKED = frozenset({2, LIMITED, 101, 700, 2100, 2101})
#: Calls whose refusals had no code before.
_CODED_SINCE = frozenset(
    {
        "AlterDatabase",
        "CreateCollection",
        "CreateDatabase",
        "CreateIndex",
        "CreatePartition",
        "DropCollection",
        "DropDatabase",
        "DropPartition",
        "Insert",
        "Query",
        "RenameCollection",
    }
)
_WHAT_IS_MISSING = (
    "primary key is not specified",
    "type param(max_length)",
    "type param(max_capacity)",
    "partition not specified",
)


def plain_status(refused: Refused, version: ServerVersion, rpc: str) -> common.Status:
    """2.3 to 2.6.18: only the errors of `merr`, which end with its words, have a code."""
    code, error_code = refused.code, refused.error_code
    if code == INVALID and "invalid parameter" not in refused.reason:
        code, error_code = UNKNOWN, common.UnexpectedError
    retriable = refused.retriable and not (code == LIMITED and version.number[:2] == (2, 5))
    filled = _filled(refused, code, error_code, refused.reason, retriable=retriable)
    missing = _NO_COLLECTION in (code, refused.code) or error_code == common.CollectionNotExists
    if version.has("missing_by_old_code") and missing and rpc in _MARKED_IN_2_5:
        _mark(filled)
    return filled


def input_status(refused: Refused, rpc: str) -> common.Status:
    """From 2.6.19 on."""
    code, error_code, reason = refused.code, refused.error_code, refused.reason
    if code == UNKNOWN and error_code == common.UnexpectedError and rpc in _CODED_SINCE:
        code = INVALID
    if code == INVALID:
        error_code = common.IllegalArgument
        if reason.startswith(_WHAT_IS_MISSING):
            code, reason = MISSING, f"{reason.removesuffix(': invalid parameter')}: missing parameter"
        elif "invalid parameter" not in reason:
            reason = f"{reason}: invalid parameter"
    filled = _filled(refused, code, error_code, reason, retriable=refused.retriable)
    by_coordinator = rpc == "CreateAlias" or (
        code in (_NO_COLLECTION, _NO_DATABASE) and rpc in _OF_COORDINATORS
    )
    if code not in _NEVER_MARKED and not by_coordinator and code != UNKNOWN:
        _mark(filled)
    return filled


def _filled(refused: Refused, code: int, error_code: int, reason: str, *, retriable: bool) -> common.Status:
    detail = refused.detail if refused.detail != refused.reason else reason
    return common.Status(
        code=code,
        error_code=error_code,
        reason=reason,
        detail=detail if code else "",
        retriable=retriable,
    )


def _mark(status: common.Status) -> None:
    status.extra_info["is_input_error"] = "true"
