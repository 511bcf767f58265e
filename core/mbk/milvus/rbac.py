"""Users, roles and grants: in one call if the server supports it, otherwise by the usual calls of an administrator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from mbk.errors import AlreadyExists, MilvusError
from mbk.milvus.proto import milvus
from mbk.milvus.server import Server
from mbk.model.records import (
    DEFAULT_DATABASE,
    Name,
    PrivilegeGroup,
    Rbac,
    RbacGrant,
    RbacGrantor,
    RbacUser,
)

ANY_DATABASE = "*"
PRIVILEGE_GROUPS_SINCE = (2, 5, 0)
#: They exist on every server, so they are never reported.
BUILT_IN_USERS = frozenset({"root"})
BUILT_IN_ROLES = frozenset({"admin", "public"})
_UNKNOWN_PRIVILEGE = re.compile(r"privilege \[([^\]]+)\] does not exist")


def read_rbac(server: Server, databases: Sequence[str], *, whole: bool) -> Rbac:
    """``whole``: the server has BackupRBAC and returns password hashes. Otherwise passwords stay empty."""
    if whole:
        response = server.call("BackupRBAC", milvus.BackupRBACMetaRequest(), "read users and roles")
        return _from_message(response.RBAC_meta)
    roles = server.call("SelectRole", milvus.SelectRoleRequest(), "list roles").results
    names = [result.role.name for result in roles]
    return Rbac(
        users=_users(server),
        roles=[Name(name=name) for name in names],
        grants=_grants(server, names, (*databases, ANY_DATABASE)),
    )


def _users(server: Server) -> list[RbacUser]:
    request = milvus.SelectUserRequest(include_role_info=True)
    return [
        RbacUser(user=result.user.name, roles=[Name(name=role.name) for role in result.roles])
        for result in server.call("SelectUser", request, "list users").results
    ]


def _grants(server: Server, roles: Iterable[str], databases: Iterable[str]) -> list[RbacGrant]:
    """2.2 lists the grants of one database at a time, 2.3 adds those for all databases each time: each is kept once."""
    grants: dict[tuple[str, ...], RbacGrant] = {}
    databases = tuple(dict.fromkeys((DEFAULT_DATABASE, *databases)))
    for role in roles:
        for database in databases:
            entity = milvus.GrantEntity(role=milvus.RoleEntity(name=role), db_name=database)
            request = milvus.SelectGrantRequest(entity=entity)
            for message in server.call("SelectGrant", request, f"list the grants of role {role}").entities:
                grant = _grant(message)
                grants.setdefault(_key(grant), grant)
    return list(grants.values())


def _grant(message: Any) -> RbacGrant:
    grantor = message.grantor
    return RbacGrant(
        role=Name(name=message.role.name),
        object=Name(name=message.object.name),
        object_name=message.object_name,
        grantor=RbacGrantor(user=Name(name=grantor.user.name), privilege=Name(name=grantor.privilege.name)),
        db_name=message.db_name,
    )


def _from_message(meta: Any) -> Rbac:
    return Rbac(
        users=[
            RbacUser(
                user=user.user,
                password=user.password,
                roles=[Name(name=role.name) for role in user.roles],
            )
            for user in meta.users
        ],
        roles=[Name(name=role.name) for role in meta.roles],
        grants=[_grant(grant) for grant in meta.grants],
        privilege_groups=[
            PrivilegeGroup(
                group_name=group.group_name,
                privileges=[Name(name=privilege.name) for privilege in group.privileges],
            )
            for group in meta.privilege_groups
        ],
    )


def _named(name: Name | None) -> str:
    return name.name if name else ""


def _key(grant: RbacGrant) -> tuple[str, ...]:
    """Identifies a grant. The grantor does not matter."""
    database = grant.db_name or DEFAULT_DATABASE
    return _named(grant.role), _named(grant.object), grant.object_name, _privilege(grant), database


def _privilege(grant: RbacGrant) -> str:
    return _named(grant.grantor.privilege if grant.grantor else None)


def restore_rbac(
    server: Server, required: Rbac, present: Rbac, *, whole: bool, groups: bool = True
) -> list[str]:
    """Adds what ``present`` lacks. Returns a line for each user, role and group that was not changed or not created.

    ``groups``: the server supports privilege groups.
    """
    missing, lines = lacking(required, present)
    without: list[str] = []
    if not groups:
        missing, without = _without_groups(missing, required)
    if whole:
        return [*lines, *_restore_whole(server, missing), *without]
    for role in missing.roles:
        _create_role(server, role.name)
    for grant in missing.grants:
        _create_grant(server, grant)
    return [*lines, *(_not_created(user) for user in missing.users), *without]


def _restore_whole(server: Server, missing: Rbac) -> list[str]:
    """One atomic call, without grants of privileges that this server does not know.

    The server refuses an empty request, existing objects, unknown privileges, and users with unknown roles (milvus:
    internal/rootcoord/meta_table.go, ``CheckIfRBACRestorable``).
    """
    lines: list[str] = []
    while missing.users or missing.roles or missing.grants or missing.privilege_groups:
        request = milvus.RestoreRBACMetaRequest(RBAC_meta=to_message(missing))
        try:
            server.call("RestoreRBAC", request, "restore users and roles")
            break
        except MilvusError as exc:
            unknown = _UNKNOWN_PRIVILEGE.search(exc.message)
            left = [grant for grant in missing.grants if not unknown or _privilege(grant) != unknown[1]]
            if len(left) == len(missing.grants):
                raise
            lines += [_not_granted(grant) for grant in missing.grants if grant not in left]
            missing = msgspec.structs.replace(missing, grants=left)
    return lines


def _not_granted(grant: RbacGrant) -> str:
    target = f"{_named(grant.object)} {grant.object_name}".strip()
    return f"privilege {_privilege(grant)} on {target} was not granted to role {_named(grant.role)}: unknown to this server"


def _without_groups(missing: Rbac, required: Rbac) -> tuple[Rbac, list[str]]:
    names = {group.group_name for group in required.privilege_groups}
    lost = [grant for grant in missing.grants if _privilege(grant) in names]
    lines = [
        f"privilege group {group.group_name} was not created: this server does not support privilege groups"
        for group in missing.privilege_groups
    ]
    kept = [grant for grant in missing.grants if grant not in lost]
    left = msgspec.structs.replace(missing, grants=kept, privilege_groups=[])
    return left, lines + [_not_granted(grant) for grant in lost]


def _not_created(user: RbacUser) -> str:
    roles = ", ".join(role.name for role in user.roles)
    line = f"user {user.user} was not created: the backup has no password"
    return f"{line}; create the user and assign the roles {roles}" if roles else f"{line}; create the user"


def lacking(required: Rbac, present: Rbac) -> tuple[Rbac, list[str]]:
    """What ``present`` lacks of ``required``, and a line for each user, role and group that exists and is not changed.

    Built-in users and roles are never lacking. Users keep those of their roles that exist afterwards.
    """
    users = {user.user for user in present.users}
    roles = {role.name for role in present.roles}
    groups = {group.group_name for group in present.privilege_groups}
    grants = {_key(grant) for grant in present.grants}
    lines = [f"user {user.user} exists" for user in required.users if user.user in users - BUILT_IN_USERS]
    lines += [f"role {role.name} exists" for role in required.roles if role.name in roles - BUILT_IN_ROLES]
    lines += [
        f"privilege group {group.group_name} exists"
        for group in required.privilege_groups
        if group.group_name in groups
    ]
    available = roles | BUILT_IN_ROLES | {role.name for role in required.roles}
    missing = Rbac(
        users=[
            msgspec.structs.replace(user, roles=[role for role in user.roles if role.name in available])
            for user in required.users
            if user.user not in users | BUILT_IN_USERS
        ],
        roles=[role for role in required.roles if role.name not in roles | BUILT_IN_ROLES],
        grants=[grant for grant in required.grants if _key(grant) not in grants],
        privilege_groups=[group for group in required.privilege_groups if group.group_name not in groups],
    )
    return missing, [f"{line}, not changed" for line in lines]


def _create_role(server: Server, name: str) -> None:
    request = milvus.CreateRoleRequest(entity=milvus.RoleEntity(name=name))
    with suppress(AlreadyExists):
        server.call("CreateRole", request, f"create role {name}")


def _create_grant(server: Server, grant: RbacGrant) -> None:
    request = milvus.OperatePrivilegeRequest(
        entity=_grant_message(grant), type=milvus.OperatePrivilegeType.Grant
    )
    what = f"grant to role {_named(grant.role)} on {_named(grant.object)} {grant.object_name}"
    server.call("OperatePrivilege", request, what, database=grant.db_name or DEFAULT_DATABASE)


def _grant_message(grant: RbacGrant) -> Any:
    grantor = grant.grantor or RbacGrantor()
    return milvus.GrantEntity(
        role=milvus.RoleEntity(name=_named(grant.role)),
        object=milvus.ObjectEntity(name=_named(grant.object)),
        object_name=grant.object_name,
        grantor=milvus.GrantorEntity(
            user=milvus.UserEntity(name=_named(grantor.user)),
            privilege=milvus.PrivilegeEntity(name=_named(grantor.privilege)),
        ),
        db_name=grant.db_name,
    )


def to_message(rbac: Rbac) -> Any:
    return milvus.RBACMeta(
        users=[
            milvus.UserInfo(
                user=user.user,
                password=user.password,
                roles=[milvus.RoleEntity(name=role.name) for role in user.roles],
            )
            for user in rbac.users
        ],
        roles=[milvus.RoleEntity(name=role.name) for role in rbac.roles],
        grants=[_grant_message(grant) for grant in rbac.grants],
        privilege_groups=[
            milvus.PrivilegeGroupInfo(
                group_name=group.group_name,
                privileges=[milvus.PrivilegeEntity(name=privilege.name) for privilege in group.privileges],
            )
            for group in rbac.privilege_groups
        ],
    )
