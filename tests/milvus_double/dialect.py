"""How 2.2 words its errors: its status has no codes but the old ones, so that clients read the text (run: 2.2.16).

Refusals are made in the words of 2.3 and later; here they are told in the older ones.
"""

from __future__ import annotations

import re

from pymilvus.grpc_gen import common_pb2 as common

from tests.milvus_double.refusal import Refused

_NO_COLLECTION = r"code: CollectionNotExists, reason: can't find collection \1:\2"
#: What each call puts before it; the others say that the inner call failed unexpectedly.
_PREFIXES = {
    "DescribeCollection": "",
    "RenameCollection": "",
    "ShowPartitions": "ShowPartitions failed: ",
    "HasPartition": "HasPartition failed: ",
    "GetPersistentSegmentInfo": "getCollectionID failed, err:code: UnexpectedError, reason: ",
}
_PREFIX = "code: UnexpectedError, reason: "
#: Their parts speak 2.2 themselves (`rbac_words`).
_OWN_WORDS = frozenset(
    {
        "CreateCredential",
        "UpdateCredential",
        "DeleteCredential",
        "OperateUserRole",
        "CreateRole",
        "DropRole",
        "OperatePrivilege",
        "SelectGrant",
    }
)
_NOT_LOADED = r"collection \1 has not been loaded to memory or load failed"
#: What 2.3 says, and what 2.2 said; the first that is found in a reason replaces the whole of it.
_OLDER: tuple[tuple[str, str], ...] = (
    (r"collection not found\[database=(.*)\]\[collection=(.*)\]", _NO_COLLECTION),
    (r"key not found\[key=.*/importtask/.*\]", r"import task id doesn't exist"),
    (r"partition not specified: .*", r"partition name not specified when backup"),
    (r"database not found\[database=(.*)\]", r"database:\1 not found"),
    (r"partition not found\[partition=(.*)\]", r"partition is not exist: \1"),
    (r"index not found\[.*\]", r"index doesn't exist, collectionID 0"),
    (r"collection not loaded\[collection=(\d+)\]", _NOT_LOADED),
    (
        r"(\S+) is alias to another collection: (\S+): alias already exist.*",
        r"alias exists and already aliased to another collection, alias: \1, other collection: \2",
    ),
    (
        r"alias and collection name conflict\[.*\]\[alias=(.*)\]",
        r"cannot create alias, collection already exists with same name: \1",
    ),
    (r"alias not found\[.*\]\[alias=(.*)\]", r"failed to alter alias, alias does not exist: \1"),
    (r"index type not match: .*", r"can only use 'STL_SORT' when is scalar field except VarChar"),
    (r"(.*supported: \[L2 IP) COSINE\]", r"\1]"),
    (r"(Invalid \w+ name: .*?)\. (the first .*): invalid parameter", r"\1.  \2"),
    (r"(.*?): invalid (?:parameter|database name)(?:\[.*\])?", r"\1"),
)


def older(refused: Refused, rpc: str) -> common.Status:
    """Nearly every error is "unexpected" to 2.2; that an index is missing is not, and rights have codes of their own."""
    reason = refused.reason
    if rpc in _OWN_WORDS:
        return common.Status(error_code=refused.error_code, reason=reason)
    for pattern, words in _OLDER:
        if found := re.search(pattern, reason):
            prefix = _PREFIXES.get(rpc, _PREFIX) if words is _NO_COLLECTION else ""
            reason = prefix + found.expand(words)
            break
    if rpc == "CreateAlias" and refused.code == 100:
        reason = f"collection not exists: {reason.rpartition(':')[2]}"
    if rpc == "ShowCollections" and refused.code == 800:
        reason = f"ShowCollections failed: {reason}"
    kept = rpc != "LoadCollection" and refused.error_code in (common.IndexNotExist, common.RateLimit)
    return common.Status(error_code=refused.error_code if kept else common.UnexpectedError, reason=reason)
