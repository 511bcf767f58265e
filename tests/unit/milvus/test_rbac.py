"""Users, roles and grants in the one call that does all or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.errors import MbkError
from mbk.milvus.proto import common, milvus
from mbk.model.records import (
    Name,
    PrivilegeGroup,
    Rbac,
    RbacGrant,
    RbacGrantor,
    RbacUser,
)
from tests.raising import raised
from tests.unit.milvus.double import failed, serving

CHANNEL = "by-dev-rootcoord-dml_0"
SECRET = "$2a$10$hash"


def grant(role: str, privilege: str) -> RbacGrant:
    grantor = RbacGrantor(user=Name(name="root"), privilege=Name(name=privilege))
    return RbacGrant(
        role=Name(name=role), object=Name(name="Collection"), object_name="docs", grantor=grantor
    )


class RbacServer:
    """Refuses what milvus' rootcoord refuses: nothing, what exists, unknown privileges, users of unknown roles."""

    def __init__(self, *, groups: bool = True) -> None:
        self.meta = milvus.RBACMeta(
            users=[milvus.UserInfo(user="root")],
            roles=[milvus.RoleEntity(name="admin"), milvus.RoleEntity(name="public")],
        )
        self._groups = groups

    def backup(self, *_: Any) -> Any:
        # Built-ins are there and, on some versions, not listed.
        return milvus.BackupRBACMetaResponse(RBAC_meta=milvus.RBACMeta())

    def restore(self, request: Any, _: dict[str, str]) -> Any:
        sent = request.RBAC_meta
        if not (sent.users or sent.roles or sent.grants or sent.privilege_groups):
            return failed("empty RBAC meta")
        roles = {role.name for role in (*self.meta.roles, *sent.roles)}
        groups = {group.group_name for group in sent.privilege_groups} if self._groups else set()
        for role in sent.roles:
            if role in self.meta.roles:
                return failed(f"role [{role.name}] already exists")
        for item in sent.grants:
            if item.grantor.privilege.name not in {"Search", *groups}:
                return failed(f"privilege [{item.grantor.privilege.name}] does not exist")
        for user in sent.users:
            if user.user == "root" or {role.name for role in user.roles} - roles:
                return failed(f"user [{user.user}] cannot be")
        self.meta.MergeFrom(sent)
        return common.Status()


@pytest.mark.parametrize(("version", "groups"), [("v2.4.10", False), ("v2.6.12", True)])
def test_built_ins_and_what_the_server_does_not_know_are_left_out_of_the_one_call(
    version: str, groups: bool
) -> None:
    server = RbacServer(groups=groups)
    wanted = Rbac(
        users=[
            RbacUser(user="root", password=SECRET),
            RbacUser(user="ann", password=SECRET, roles=[Name(name="reader"), Name(name="lost")]),
        ],
        roles=[Name(name="admin"), Name(name="public"), Name(name="reader")],
        grants=[grant("reader", "Search"), grant("reader", "FromTheFuture"), grant("reader", "readers")],
        privilege_groups=[PrivilegeGroup(group_name="readers", privileges=[Name(name="Search")])],
    )
    with serving(version, BackupRBAC=server.backup, RestoreRBAC=server.restore) as client:
        lines = client.access.restore(wanted)
    assert [user.user for user in server.meta.users] == ["root", "ann"]
    assert [role.name for role in server.meta.users[1].roles] == ["reader"]
    assert [item.grantor.privilege.name for item in server.meta.grants] == ["Search"] + ["readers"] * groups
    future = (
        "privilege FromTheFuture on Collection docs was not granted to role reader: unknown to this server"
    )
    assert future in lines
    assert (
        "privilege group readers was not created: this server does not support privilege groups" in lines
    ) != groups
    assert SECRET not in " ".join(lines)


def test_a_refusal_for_another_reason_is_told() -> None:
    def refused(*_: Any) -> Any:
        return failed("the store is read-only")

    with (
        serving("v2.6.12", BackupRBAC=RbacServer().backup, RestoreRBAC=refused) as client,
        raised(MbkError, "milvus-request-failed", reason="the store is read-only"),
    ):
        client.access.restore(Rbac(roles=[Name(name="reader")], grants=[grant("reader", "Search")]))
