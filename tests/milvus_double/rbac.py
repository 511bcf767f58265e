"""Users, roles, grants and privilege groups, by the ordinary calls and by BackupRBAC and RestoreRBAC.

Sources: milvus ``internal/rootcoord/root_coord.go`` and ``meta_table.go`` (``CheckIfRBACRestorable``: everything is checked
before anything is made), ``internal/metastore/kv/rootcoord/kv_catalog.go`` (``BackupRBAC`` leaves out root, admin and public),
``internal/proxy/impl.go`` (checks of names and passwords).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.passwords import hashed, matches, new_user
from tests.milvus_double.privileges import (
    ANY,
    COLLECTION,
    GLOBAL,
    OBJECTS,
    built_in_groups,
    is_allowed,
    is_defined,
    object_of,
)
from tests.milvus_double.rbac_words import RbacWords
from tests.milvus_double.refusal import Refused, invalid
from tests.milvus_double.state import State, User
from tests.milvus_double.versions import ServerVersion

ROOT = "root"
BUILT_IN_ROLES = ("admin", "public")
Grant = tuple[str, str, str, str, str]


def _no_user() -> Refused:
    reason = "not found the user, maybe the user isn't existed or internal system error"
    return Refused(reason, error_code=common.OperateUserRoleFailure)


def _no_role(code: int) -> Refused:
    reason = "not found the role, maybe the role isn't existed or internal system error"
    return Refused(reason, error_code=code)


class RbacPart(Part):
    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._words = RbacWords(state.version)


class Users(RbacPart):
    def CreateCredential(self, request: Any, _call: Call) -> Any:
        users = self.state.rbac.users
        self._words.user_name(request.username)
        password = self._words.password(request.username, request.password)
        if request.username in users:
            raise self._words.user_exists(request.username)
        users[request.username] = new_user(password)
        return common.Status()

    def UpdateCredential(self, request: Any, _call: Call) -> Any:
        name = request.username
        old, new = (self._words.password(name, sent) for sent in (request.oldPassword, request.newPassword))
        user = self.state.rbac.users.get(name)
        if user is None or not matches(user, old):
            raise self._words.wrong_password(name)
        user.password, user.encoded = new, hashed(new)
        return common.Status()

    def DeleteCredential(self, request: Any, _call: Call) -> Any:
        if request.username == ROOT:
            raise self._words.root_stays()
        self.state.rbac.users.pop(request.username, None)
        return common.Status()

    def ListCredUsers(self, _request: Any, _call: Call) -> Any:
        return milvus.ListCredUsersResponse(status=common.Status(), usernames=sorted(self.state.rbac.users))

    def SelectUser(self, request: Any, _call: Call) -> Any:
        users = self.state.rbac.users
        name = request.user.name
        results = [
            milvus.UserResult(
                user=milvus.UserEntity(name=user),
                roles=_roles(users[user]) if request.include_role_info else [],
            )
            for user in sorted(users)
            if name in ("", user)
        ]
        return milvus.SelectUserResponse(status=common.Status(), results=results)

    def OperateUserRole(self, request: Any, _call: Call) -> Any:
        user = self.state.rbac.users.get(request.username)
        removes = request.type == milvus.OperateUserRoleType.RemoveUserFromRole
        if request.role_name not in self.state.rbac.roles:
            raise _no_role(common.OperateUserRoleFailure)
        if user is None:
            raise _no_user()
        if removes:
            user.roles.discard(request.role_name)
        else:
            user.roles.add(request.role_name)
        return common.Status()


class Roles(RbacPart):
    def CreateRole(self, request: Any, _call: Call) -> Any:
        name = request.entity.name
        self._words.role_name(name)
        if name in self.state.rbac.roles:
            raise self._words.role_exists(name)
        self.state.rbac.roles.add(name)
        return common.Status()

    def DropRole(self, request: Any, _call: Call) -> Any:
        rbac, name = self.state.rbac, request.role_name
        if name in BUILT_IN_ROLES:
            raise self._words.role_stays(name)
        if name not in rbac.roles:
            raise _no_role(common.DropRoleFailure)
        held = [grant for grant in rbac.grants if grant[0] == name]
        if held and not request.force_drop:
            raise Refused(
                "fail to drop the role that it has privileges. Use REVOKE API to revoke privileges",
                error_code=common.DropRoleFailure,
            )
        for grant in held:
            del rbac.grants[grant]
        for user in rbac.users.values():
            user.roles.discard(name)
        rbac.roles.remove(name)
        return common.Status()

    def SelectRole(self, request: Any, _call: Call) -> Any:
        rbac, name = self.state.rbac, request.role.name
        if name and name not in rbac.roles:
            return milvus.SelectRoleResponse(status=common.Status())
        results = []
        for role in sorted(rbac.roles):
            if name in ("", role):
                holders = [user for user, entry in sorted(rbac.users.items()) if role in entry.roles]
                users = (
                    [milvus.UserEntity(name=user) for user in holders] if request.include_user_info else []
                )
                results.append(milvus.RoleResult(role=milvus.RoleEntity(name=role), users=users))
        return milvus.SelectRoleResponse(status=common.Status(), results=results)


class Grants(RbacPart):
    def __init__(self, state: State) -> None:
        """``initRbac``: what everybody may (2.3.5, run; from 2.4 on by reading)."""
        super().__init__(state)
        if state.version.number >= (2, 3, 0):
            lists = "ListAliases" if state.version.number >= (2, 4, 0) else "ShowCollections"
            for kind, privilege in (
                (COLLECTION, "IndexDetail"),
                (GLOBAL, "DescribeCollection"),
                (GLOBAL, lists),
            ):
                state.rbac.grants.setdefault(("public", kind, ANY, ANY, privilege), ROOT)

    def OperatePrivilege(self, request: Any, call: Call) -> Any:
        entity = request.entity
        database = entity.db_name or call.database
        kind, privilege = entity.object.name, entity.grantor.privilege.name
        self._words.role_name(entity.role.name)
        self._words.role_name(entity.object_name)
        if kind not in OBJECTS:
            shown = "[User Collection Global]"
            raise self._unknown(
                f"not found the object type[name: {kind}], supported the object types: {shown}"
            )
        grant = (entity.role.name, kind, entity.object_name, database, privilege)
        self._operate(grant, call, entity.grantor.user.name, request.type)
        return common.Status()

    def OperatePrivilegeV2(self, request: Any, call: Call) -> Any:
        if not request.HasField("role"):
            raise invalid("the role in the request is nil: invalid parameter")
        name = request.grantor.privilege.name
        grant = (
            request.role.name,
            object_of(name),
            request.collection_name or ANY,
            request.db_name or call.database,
            name,
        )
        self._operate(grant, call, request.grantor.user.name, request.type)
        return common.Status()

    def _operate(self, grant: Grant, call: Call, grantor: str, kind: int) -> None:
        rbac = self.state.rbac
        role, on, _, _, privilege = grant
        if role not in rbac.roles:
            raise _no_role(common.OperatePrivilegeFailure)
        known = is_defined(self.state.version, privilege) and is_allowed(on, privilege)
        if privilege != ANY and not known and privilege not in rbac.groups:
            raise self._unknown(f"not found the privilege name[{privilege}]")
        if kind == milvus.OperatePrivilegeType.Grant:
            rbac.grants[grant] = grantor or call.user or ROOT
        else:
            rbac.grants.pop(grant, None)

    @staticmethod
    def _unknown(reason: str) -> Refused:
        return Refused(reason, error_code=common.OperatePrivilegeFailure)

    def SelectGrant(self, request: Any, call: Call) -> Any:
        """Until 2.4.9 the database ``*`` is one like another, whose grants show with every other (2.3.5, run)."""
        entity = request.entity
        self._words.role_name(entity.role.name)
        if entity.object.name:
            self._words.role_name(entity.object_name)
        if entity.role.name not in self.state.rbac.roles:
            raise _no_role(common.SelectGrantFailure)
        database = entity.db_name or call.database
        every = database == ANY and self.state.version.has("rbac_backup")
        found = [
            _entity(grant, grantor)
            for grant, grantor in sorted(self.state.rbac.grants.items())
            if grant[0] == entity.role.name
            and entity.object.name in ("", grant[1])
            and entity.object_name in ("", grant[2])
            and (every or grant[3] in (database, ANY))
        ]
        return milvus.SelectGrantResponse(status=common.Status(), entities=found)


class PrivilegeGroups(Part):
    def CreatePrivilegeGroup(self, request: Any, _call: Call) -> Any:
        groups, name = self.state.rbac.groups, request.group_name
        if not name:
            raise invalid("privilege group name is empty")
        if name in groups:
            raise invalid(f"privilege group name [{name}] is defined by users: invalid parameter")
        if is_defined(self.state.version, name):
            raise invalid(
                f"privilege group name [{name}] is defined by built in privileges: invalid parameter"
            )
        groups[name] = set()
        return common.Status()

    def DropPrivilegeGroup(self, request: Any, _call: Call) -> Any:
        rbac, name = self.state.rbac, request.group_name
        if name not in rbac.groups:
            return common.Status()
        user = next((grant[0] for grant in rbac.grants if grant[4] == name), None)
        if user is not None:
            raise Refused(
                f"privilege group [{name}] is used by role [{user}], Use REVOKE API to revoke it first",
                error_code=common.DropPrivilegeGroupFailure,
            )
        del rbac.groups[name]
        return common.Status()

    def ListPrivilegeGroups(self, _request: Any, _call: Call) -> Any:
        listed = [*_built_in(self.state.version), *_groups(self.state.rbac.groups)]
        return milvus.ListPrivilegeGroupsResponse(status=common.Status(), privilege_groups=listed)

    def OperatePrivilegeGroup(self, request: Any, _call: Call) -> Any:
        groups, name = self.state.rbac.groups, request.group_name
        if name not in groups:
            raise invalid(f"there is no privilege group name [{name}] defined in system to operate")
        names = [item.name for item in request.privileges]
        for item in names:
            if not is_defined(self.state.version, item) and item not in groups:
                raise invalid(
                    f"there is no privilege name or privilege group name [{item}] defined in system to operate"
                )
        if request.type == milvus.OperatePrivilegeGroupType.AddPrivilegesToGroup:
            groups[name].update(names)
        else:
            groups[name].difference_update(names)
        return common.Status()


class WholeRbac(Part):
    def BackupRBAC(self, _request: Any, _call: Call) -> Any:
        rbac = self.state.rbac
        users = [
            milvus.UserInfo(user=name, password=user.encoded or hashed(user.password), roles=_roles(user))
            for name, user in sorted(rbac.users.items())
            if name != ROOT
        ]
        roles = sorted(rbac.roles - set(BUILT_IN_ROLES))
        meta = milvus.RBACMeta(
            users=users,
            roles=[milvus.RoleEntity(name=name) for name in roles],
            grants=[_entity(grant, grantor) for grant, grantor in rbac.grants.items() if grant[0] in roles],
            privilege_groups=_groups(rbac.groups),
        )
        return milvus.BackupRBACMetaResponse(status=common.Status(), RBAC_meta=meta)

    def RestoreRBAC(self, request: Any, _call: Call) -> Any:
        self.restore(request.RBAC_meta)
        return common.Status()

    def restore(self, meta: Any) -> None:
        """Also what a replicated message asks for. All of it or, where anything exists or is unknown, nothing.

        Nothing at all is restored with success (run: 2.5.27, 2.6.19).
        """
        rbac = self.state.rbac
        self._check(meta)
        rbac.roles |= {role.name for role in meta.roles}
        for group in meta.privilege_groups:
            rbac.groups[group.group_name] = {item.name for item in group.privileges}
        for entity in meta.grants:
            grant = (
                entity.role.name,
                entity.object.name,
                entity.object_name,
                entity.db_name or "default",
                entity.grantor.privilege.name,
            )
            rbac.grants[grant] = entity.grantor.user.name or ROOT
        for user in meta.users:
            rbac.users[user.user] = User("", {role.name for role in user.roles}, user.password)

    def _check(self, meta: Any) -> None:
        rbac = self.state.rbac
        for role in meta.roles:
            if role.name in rbac.roles:
                raise Refused(f"role [{role.name}] already exists")
        for group in meta.privilege_groups:
            if group.group_name in rbac.groups:
                raise Refused(f"privilege group [{group.group_name}] already exists")
        groups = rbac.groups.keys() | {group.group_name for group in meta.privilege_groups}
        for grant in meta.grants:
            name = grant.grantor.privilege.name
            if name != ANY and name not in groups and not is_defined(self.state.version, name):
                raise Refused(f"privilege [{name}] does not exist")
        roles = rbac.roles | {role.name for role in meta.roles}
        for user in meta.users:
            if user.user in rbac.users:
                raise Refused(f"user [{user.user}] already exists")
            for role in user.roles:
                if role.name not in roles:
                    raise Refused(f"role [{role.name}] does not exist")


RBAC_PARTS = (Users, Roles, Grants, PrivilegeGroups, WholeRbac)


def _roles(user: User) -> list[Any]:
    return [milvus.RoleEntity(name=role) for role in sorted(user.roles)]


def _built_in(version: ServerVersion) -> list[Any]:
    found = built_in_groups(version) if version.has("built_in_groups") else {}
    return [_group(name, privileges) for name, privileges in found.items()]


def _groups(groups: dict[str, set[str]]) -> list[Any]:
    return [_group(name, sorted(privileges)) for name, privileges in sorted(groups.items())]


def _group(name: str, privileges: Iterable[str]) -> Any:
    return milvus.PrivilegeGroupInfo(
        group_name=name, privileges=[milvus.PrivilegeEntity(name=item) for item in privileges]
    )


def _entity(grant: Grant, grantor: str) -> Any:
    role, kind, name, database, privilege = grant
    return milvus.GrantEntity(
        role=milvus.RoleEntity(name=role),
        object=milvus.ObjectEntity(name=kind),
        object_name=name,
        grantor=milvus.GrantorEntity(
            user=milvus.UserEntity(name=grantor), privilege=milvus.PrivilegeEntity(name=privilege)
        ),
        db_name=database,
    )
