"""The privileges of Milvus and the object that each is granted on.

Sources: milvus-proto ``common.proto`` (``ObjectPrivilege``), milvus ``pkg/util/constant.go`` (``ObjectPrivileges``, privilege
levels and built-in groups), and the releases that brought the newer ones.
"""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.milvus_double.versions import ServerVersion, Version

ANY = "*"
COLLECTION, GLOBAL, USER = "Collection", "Global", "User"
OBJECTS = frozenset({COLLECTION, GLOBAL, USER})
_PREFIX = "Privilege"
_NAMES = {name.removeprefix(_PREFIX) for name, _ in common.ObjectPrivilege.items()} - {"All"}
#: Built-in groups stand as ``GroupReadOnly`` in the enumeration and as ``ReadOnly`` nowhere; newer ones lose the "Group".
_GROUPS = {name for name in _NAMES if name.startswith("Group")}
_LEVELS = ("Cluster", "Database", "Collection")
_LEVEL_GROUPS = {
    name.removeprefix("Group") for name in _GROUPS if name.removeprefix("Group").startswith(_LEVELS)
}
_OLD_GROUPS = {name for name in _GROUPS if name.removeprefix("Group") not in _LEVEL_GROUPS}
_PLAIN = _NAMES - _GROUPS


def _declared() -> dict[str, set[str]]:
    """Object -> privileges, as the requests in ``milvus.proto`` declare what they need."""
    found: dict[str, set[str]] = {COLLECTION: {"GetLoadingProgress"}, GLOBAL: set(), USER: set()}
    for message in milvus.DESCRIPTOR.message_types_by_name.values():
        options = message.GetOptions()
        if options.HasExtension(common.privilege_ext_obj):
            needs = options.Extensions[common.privilege_ext_obj]
            name = common.ObjectPrivilege.Name(needs.object_privilege).removeprefix(_PREFIX)
            found[common.ObjectType.Name(needs.object_type)].add(name)
    return found


_ON = _declared()
_SINCE: dict[str, Version] = {
    "CreateDatabase": (2, 2, 9),
    "DropDatabase": (2, 2, 9),
    "ListDatabases": (2, 2, 9),
    "Upsert": (2, 3, 0),
    "FlushAll": (2, 3, 0),
    "CreateAlias": (2, 4, 0),
    "DropAlias": (2, 4, 0),
    "DescribeAlias": (2, 4, 0),
    "ListAliases": (2, 4, 0),
    "UpdateResourceGroups": (2, 4, 1),
    "AlterDatabase": (2, 4, 3),
    "DescribeDatabase": (2, 4, 3),
    "BackupRBAC": (2, 4, 10),
    "RestoreRBAC": (2, 4, 10),
    "AddCollectionField": (2, 6, 0),
    "UpdateReplicateConfiguration": (2, 6, 3),
    "AddFileResource": (2, 6, 11),
    "RemoveFileResource": (2, 6, 11),
    "ListFileResources": (2, 6, 11),
    "AlterCollectionSchema": (3, 0, 0),
    "RefreshExternalCollection": (3, 0, 0),
}
_OLD_GROUPS_SINCE: Version = (2, 4, 10)
_GROUPS_SINCE: Version = (2, 5, 0)


def is_defined(version: ServerVersion, name: str) -> bool:
    """Whether it is a privilege, or a built-in group, of this version."""
    if name in _OLD_GROUPS:
        return version.number >= _OLD_GROUPS_SINCE
    if name in _LEVEL_GROUPS or name.endswith("PrivilegeGroup") or name == "ListPrivilegeGroups":
        return version.number >= _GROUPS_SINCE
    if "Snapshot" in name:
        return name in _PLAIN and version.has("snapshots")
    return name in _PLAIN and version.number >= _SINCE.get(name, (2, 2, 0))


def is_allowed(kind: str, name: str) -> bool:
    """Whether the privilege is one of objects of this kind; groups go with each."""
    if name not in _PLAIN or name in _ON[kind]:
        return True
    return kind == GLOBAL and name not in _ON[COLLECTION] | _ON[USER]


def object_of(name: str) -> str:
    """What OperatePrivilegeV2 files a privilege under."""
    return next((kind for kind in (COLLECTION, USER) if name in _ON[kind]), GLOBAL)


#: What each level lets do (run: 2.5.27, 2.6.19), the lowest first: a higher one has all of the lower.
_LEVELS_OF: dict[str, tuple[str, str, str]] = {
    "Cluster": (
        "ListDatabases SelectOwnership SelectUser DescribeResourceGroup ListResourceGroups ListPrivilegeGroups "
        "GetReplicateConfiguration",
        "FlushAll TransferNode TransferReplica UpdateResourceGroups",
        "BackupRBAC RestoreRBAC CreateDatabase DropDatabase CreateOwnership DropOwnership ManageOwnership "
        "CreateResourceGroup DropResourceGroup UpdateUser RenameCollection CreatePrivilegeGroup DropPrivilegeGroup "
        "OperatePrivilegeGroup UpdateReplicateConfiguration",
    ),
    "Database": ("ShowCollections DescribeDatabase", "AlterDatabase", "CreateCollection DropCollection"),
    "Collection": (
        "Query Search IndexDetail GetFlushState GetLoadState GetLoadingProgress HasPartition ShowPartitions "
        "DescribeCollection DescribeAlias GetStatistics ListAliases GetImportProgress ListImport",
        "Load Release Insert Delete Upsert Import Flush Compaction LoadBalance CreateIndex DropIndex CreatePartition "
        "DropPartition AddCollectionField",
        "CreateAlias DropAlias",
    ),
}
#: Of those, what came with 2.6.
_NEW_IN_GROUPS = frozenset(
    {
        "GetReplicateConfiguration",
        "UpdateReplicateConfiguration",
        "GetImportProgress",
        "ListImport",
        "AddCollectionField",
    }
)


def built_in_groups(version: ServerVersion) -> dict[str, list[str]]:
    """Group -> its privileges, as ListPrivilegeGroups shows them."""
    found = {}
    for level, steps in _LEVELS_OF.items():
        held: list[str] = []
        for name, more in zip(("ReadOnly", "ReadWrite", "Admin"), steps, strict=True):
            held += [
                item for item in more.split() if version.number >= (2, 6, 0) or item not in _NEW_IN_GROUPS
            ]
            found[level + name] = list(held)
    return found
