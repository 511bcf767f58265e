"""Users, roles and grants of the double, held against the real 2.3.5: one script for both."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

from tests.e2e.milvus_servers import milvus_local
from tests.milvus_double.server import MilvusDouble

REVOKE = milvus.OperatePrivilegeType.Revoke
REMOVE = milvus.OperateUserRoleType.RemoveUserFromRole


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def user(name: str, password: str = "secret-1") -> tuple[str, Any]:
    return "CreateCredential", milvus.CreateCredentialRequest(username=name, password=encoded(password))


def password(name: str, old: str, new: str) -> tuple[str, Any]:
    request = milvus.UpdateCredentialRequest(
        username=name, oldPassword=encoded(old), newPassword=encoded(new)
    )
    return "UpdateCredential", request


def role(name: str) -> tuple[str, Any]:
    return "CreateRole", milvus.CreateRoleRequest(entity=milvus.RoleEntity(name=name))


def drop(name: str) -> tuple[str, Any]:
    return "DropRole", milvus.DropRoleRequest(role_name=name)


def join(name: str, role_name: str, kind: int = 0) -> tuple[str, Any]:
    return "OperateUserRole", milvus.OperateUserRoleRequest(username=name, role_name=role_name, type=kind)


def grant(
    privilege: str = "Search",
    kind: str = "Collection",
    name: str = "docs",
    role: str = "r",
    operation: int = 0,
) -> tuple[str, Any]:
    entity = milvus.GrantEntity(
        role=milvus.RoleEntity(name=role),
        object=milvus.ObjectEntity(name=kind),
        object_name=name,
        grantor=milvus.GrantorEntity(
            user=milvus.UserEntity(name="root"), privilege=milvus.PrivilegeEntity(name=privilege)
        ),
    )
    return "OperatePrivilege", milvus.OperatePrivilegeRequest(entity=entity, type=operation)


def grants(role: str = "r", kind: str = "", name: str = "", database: str = "") -> tuple[str, Any]:
    entity = milvus.GrantEntity(role=milvus.RoleEntity(name=role), object_name=name, db_name=database)
    if kind:
        entity.object.name = kind
    return "SelectGrant", milvus.SelectGrantRequest(entity=entity)


def users(name: str = "") -> tuple[str, Any]:
    request = milvus.SelectUserRequest(include_role_info=True)
    if name:
        request.user.name = name
    return "SelectUser", request


def roles(name: str = "") -> tuple[str, Any]:
    request = milvus.SelectRoleRequest(include_user_info=True)
    if name:
        request.role.name = name
    return "SelectRole", request


SCRIPT: dict[str, tuple[str, Any]] = {
    "a user": user("ada"),
    "the user again": user("ada"),
    "a name with a digit before": user("1a"),
    "no name": user(""),
    "a short password": user("bob", "s"),
    "a password that is no base64": (
        "CreateCredential",
        milvus.CreateCredentialRequest(username="bob", password="!!"),
    ),
    "all names": ("ListCredUsers", milvus.ListCredUsersRequest()),
    "a wrong old password": password("ada", "secret-x", "secret-2"),
    "another password": password("ada", "secret-1", "secret-2"),
    "a role": role("r"),
    "the role again": role("r"),
    "a role with a digit before": role("1r"),
    "a role without a name": role(""),
    "a role that is built in": role("admin"),
    "joined": join("ada", "r"),
    "joined again": join("ada", "r"),
    "nobody joins": join("nobody", "r"),
    "joining no role": join("ada", "none"),
    "users": users(),
    "one user": users("ada"),
    "no user": users("nobody"),
    "roles": roles(),
    "one role": roles("r"),
    "no role": roles("none"),
    "granted": grant(),
    "granted again": grant(),
    "everything": grant("*", name="*"),
    "a global privilege": grant("CreateCollection", "Global", "*"),
    "a privilege of users": grant("SelectUser", "User", "*"),
    "a privilege of other objects": grant("Search", "Global", "*"),
    "an unknown privilege": grant("Fly"),
    "a grant to no role": grant(role="none"),
    "a grant on nothing": grant(name=""),
    "grants": grants(),
    "grants everywhere": grants(database="*"),
    "grants of another database": grants(database="other"),
    "grants of one object": grants(kind="Collection", name="docs"),
    "grants of an object that has none": grants(kind="Collection", name="nothing"),
    "grants of a kind": grants(kind="Collection"),
    "grants of no role": grants("none"),
    "grants of a role without a name": grants(""),
    "what everybody may": grants("public"),
    "what administrators may": grants("admin"),
    "revoked what was not granted": grant(name="never", operation=REVOKE),
    "dropped while it has grants": drop("r"),
    "dropped what is not there": drop("none"),
    "dropped what is built in": drop("admin"),
    "revoked 1": grant(operation=REVOKE),
    "revoked 2": grant("*", name="*", operation=REVOKE),
    "revoked 3": grant("CreateCollection", "Global", "*", operation=REVOKE),
    "revoked 4": grant("SelectUser", "User", "*", operation=REVOKE),
    "dropped": drop("r"),
    "the user afterwards": users("ada"),
    "left what was not joined": join("ada", "public", REMOVE),
    "root deleted": ("DeleteCredential", milvus.DeleteCredentialRequest(username="root")),
    "nobody deleted": ("DeleteCredential", milvus.DeleteCredentialRequest(username="nobody")),
    "deleted": ("DeleteCredential", milvus.DeleteCredentialRequest(username="ada")),
}


def answers(target: str) -> dict[str, Any]:
    login = [("authorization", encoded("root:Milvus"))]
    found = {}
    with grpc.insecure_channel(target) as channel:
        stub = MilvusServiceStub(channel)
        for name, (rpc, request) in SCRIPT.items():
            answer = getattr(stub, rpc)(request, timeout=60, metadata=login)
            told = MessageToDict(answer, preserving_proto_field_name=True)
            told.get("status", told).pop("detail", None)
            found[name] = told
    return found


def test_rights_are_given_and_refused_as_by_the_real_server(tmp_path: Path) -> None:
    with milvus_local(tmp_path / "real", {"common.security.authorizationEnabled": True}) as real:
        wanted = answers(f"{real.address}:{real.port}")
    with MilvusDouble("v2.3.5", home=tmp_path / "double", authorization=True) as double:
        played = answers(double.target)
    assert played == wanted
