"""The double's faults as a client meets them, and its users, roles and grants."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub
from pymilvus.grpc_gen.schema_pb2 import CollectionSchema, DataType, FieldSchema

from tests.milvus_double.server import MilvusDouble

ROOT = ("root", "Milvus")


@contextmanager
def running(
    home: Path, version: str = "v2.6.12", **options: Any
) -> Iterator[tuple[MilvusDouble, MilvusServiceStub]]:
    with (
        MilvusDouble(version, home=home, flush_rate=0, **options) as double,
        grpc.insecure_channel(double.target) as channel,
    ):
        yield double, MilvusServiceStub(channel)


def login(user: str, password: str) -> list[tuple[str, str]]:
    return [("authorization", encoded(f"{user}:{password}"))]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def make(stub: MilvusServiceStub, name: str) -> Any:
    fields = [
        FieldSchema(name="pk", data_type=DataType.Int64, is_primary_key=True),
        FieldSchema(
            name="v", data_type=DataType.FloatVector, type_params=[common.KeyValuePair(key="dim", value="2")]
        ),
    ]
    schema = CollectionSchema(name=name, fields=fields).SerializeToString()
    return stub.CreateCollection(milvus.CreateCollectionRequest(collection_name=name, schema=schema))


def names(stub: MilvusServiceStub) -> list[str]:
    return list(stub.ShowCollections(milvus.ShowCollectionsRequest()).collection_names)


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_rate_limit_strikes_after_and_as_often_as_asked(tmp_path: Path) -> None:
    with running(tmp_path) as (double, stub):
        rule = double.faults.rate_limit("CreateCollection", after=1, times=2)
        assert [make(stub, name).error_code for name in "abcd"] == [0, common.RateLimit, common.RateLimit, 0]
        assert names(stub) == ["a", "d"]
        assert rule.struck == 2


def test_a_lost_answer_is_of_work_that_is_done(tmp_path: Path) -> None:
    with running(tmp_path) as (double, stub):
        double.faults.lose_answer("CreateCollection")
        with pytest.raises(grpc.RpcError) as failed:
            make(stub, "a")
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert names(stub) == ["a"]


def test_an_unavailable_server_has_done_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (double, stub):
        double.faults.fail("Create*", when=lambda request: request.collection_name == "a")
        with pytest.raises(grpc.RpcError):
            make(stub, "a")
        make(stub, "b")
        assert names(stub) == ["b"]


def test_segments_come_and_go_and_flushes_take_their_time(tmp_path: Path) -> None:
    with running(tmp_path) as (double, stub):
        make(stub, "a")
        double.faults.segment_not_found(times=1)
        asked = milvus.GetPersistentSegmentInfoRequest(collectionName="a")
        assert "segment not found" in stub.GetPersistentSegmentInfo(asked).status.reason
        assert not stub.GetPersistentSegmentInfo(asked).status.reason
        double.faults.slow_flush(polls=2)
        flush = stub.Flush(milvus.FlushRequest(collection_names=["a"]))
        state = milvus.GetFlushStateRequest(collection_name="a", flush_ts=flush.coll_flush_ts["a"])
        assert [stub.GetFlushState(state).flushed for _ in range(3)] == [False, False, True]


def test_faults_end_when_they_are_cleared(tmp_path: Path) -> None:
    with running(tmp_path) as (double, stub):
        double.faults.rate_limit("*", times=None)
        assert make(stub, "a").error_code
        double.faults.clear()
        assert not make(stub, "a").error_code


# -- users, roles, grants ----------------------------------------------------------------------------------------------


def grant(role: str, privilege: str, name: str = "docs") -> Any:
    return milvus.GrantEntity(
        role=milvus.RoleEntity(name=role),
        object=milvus.ObjectEntity(name="Collection"),
        object_name=name,
        grantor=milvus.GrantorEntity(privilege=milvus.PrivilegeEntity(name=privilege)),
        db_name="default",
    )


def arrange(stub: MilvusServiceStub) -> None:
    root = login(*ROOT)
    user = milvus.CreateCredentialRequest(username="ada", password=encoded("secret-1"))
    assert not stub.CreateCredential(user, metadata=root).error_code
    role = milvus.CreateRoleRequest(entity=milvus.RoleEntity(name="reader"))
    assert not stub.CreateRole(role, metadata=root).error_code
    join = milvus.OperateUserRoleRequest(username="ada", role_name="reader")
    assert not stub.OperateUserRole(join, metadata=root).error_code
    allow = milvus.OperatePrivilegeRequest(entity=grant("reader", "Search"))
    assert not stub.OperatePrivilege(allow, metadata=root).error_code


@pytest.mark.parametrize("version", ["v2.2.16", "v2.3.5", "v2.4.23", "v3.0.1"])
def test_the_ordinary_calls_work_on_every_version(tmp_path: Path, version: str) -> None:
    with running(tmp_path, version, authorization=True) as (_, stub):
        arrange(stub)
        root = login(*ROOT)
        users = stub.SelectUser(milvus.SelectUserRequest(include_role_info=True), metadata=root).results
        assert {item.user.name: [role.name for role in item.roles] for item in users} == {
            "ada": ["reader"],
            "root": [],
        }
        asked = milvus.SelectGrantRequest(entity=milvus.GrantEntity(role=milvus.RoleEntity(name="reader")))
        (found,) = stub.SelectGrant(asked, metadata=root).entities
        assert (found.object_name, found.grantor.privilege.name) == ("docs", "Search")
        again = milvus.CreateRoleRequest(entity=milvus.RoleEntity(name="reader"))
        assert stub.CreateRole(again, metadata=root).error_code == common.CreateRoleFailure
        held = stub.DropRole(milvus.DropRoleRequest(role_name="reader"), metadata=root)
        assert "has privileges" in held.reason
        unknown = milvus.OperatePrivilegeRequest(entity=grant("reader", "Fly"))
        assert stub.OperatePrivilege(unknown, metadata=root).error_code == common.OperatePrivilegeFailure


def test_a_restored_user_logs_in_with_the_old_password(tmp_path: Path) -> None:
    with running(tmp_path / "a", authorization=True) as (_, stub):
        arrange(stub)
        root = login(*ROOT)
        group = milvus.CreatePrivilegeGroupRequest(group_name="finders")
        assert not stub.CreatePrivilegeGroup(group, metadata=root).error_code
        filled = milvus.OperatePrivilegeGroupRequest(
            group_name="finders", privileges=[milvus.PrivilegeEntity(name="Search")]
        )
        assert not stub.OperatePrivilegeGroup(filled, metadata=root).error_code
        meta = stub.BackupRBAC(milvus.BackupRBACMetaRequest(), metadata=root).RBAC_meta
    assert [user.user for user in meta.users] == ["ada"]
    assert "secret-1" not in str(meta)
    with running(tmp_path / "b", authorization=True) as (double, stub):
        root = login(*ROOT)
        request = milvus.RestoreRBACMetaRequest(RBAC_meta=meta)
        assert not stub.RestoreRBAC(request, metadata=root).error_code
        assert double.state.rbac.groups == {"finders": {"Search"}}
        shown = milvus.ShowCollectionsRequest()
        assert not stub.ShowCollections(shown, metadata=login("ada", "secret-1")).status.error_code
        with pytest.raises(grpc.RpcError) as failed:
            stub.ShowCollections(shown, metadata=login("ada", "secret-2"))
        assert failed.value.code() == grpc.StatusCode.UNAUTHENTICATED
        # A second time everything is there, and nothing is changed.
        assert stub.RestoreRBAC(request, metadata=root).reason == "role [reader] already exists"


@pytest.mark.parametrize("version", ["2.5.27", "2.6.19"])
def test_restoring_no_rights_at_all_succeeds(tmp_path: Path, version: str) -> None:
    with running(tmp_path, version) as (_, stub):
        answer = stub.RestoreRBAC(milvus.RestoreRBACMetaRequest(RBAC_meta=milvus.RBACMeta()))
        assert (answer.code, answer.error_code, answer.reason) == (0, 0, "")


def test_restoring_rights_is_all_or_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (double, stub):
        meta = milvus.RBACMeta(
            roles=[milvus.RoleEntity(name="reader")],
            grants=[grant("reader", "FlyToTheMoon")],
        )
        answer = stub.RestoreRBAC(milvus.RestoreRBACMetaRequest(RBAC_meta=meta))
        assert answer.reason == "privilege [FlyToTheMoon] does not exist"
        assert "reader" not in double.state.rbac.roles
        user = milvus.RBACMeta(users=[milvus.UserInfo(user="ada", roles=[milvus.RoleEntity(name="nobody")])])
        answer = stub.RestoreRBAC(milvus.RestoreRBACMetaRequest(RBAC_meta=user))
        assert answer.reason == "role [nobody] does not exist"


@pytest.mark.parametrize("version", ["v2.3.5", "v2.4.9"])
def test_before_2_4_10_rights_are_not_handed_out_as_a_whole(tmp_path: Path, version: str) -> None:
    with running(tmp_path, version) as (_, stub):
        with pytest.raises(grpc.RpcError) as failed:
            stub.BackupRBAC(milvus.BackupRBACMetaRequest())
        assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED
