"""The adapter against newer servers and passing failures, over real gRPC."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mbk.config.schema import MilvusSettings
from mbk.errors import CollectionNotFound, MilvusError, MilvusUnavailable, Unsupported
from mbk.milvus.channel import Channel
from mbk.milvus.proto import common, milvus, msg
from mbk.model.records import Database, KeyValue, Name, PrivilegeGroup, Rbac, RbacGrant, RbacGrantor, RbacUser
from mbk.ports.milvus.values import Feature, FlushPoint, ImportRequest, SegmentInfo
from tests.raising import raised
from tests.unit.milvus.double import failed, serving

CHANNEL = "by-dev-rootcoord-dml_0_5v0"
SECRET = "$2a$10$hash"


def flush_answer(*_: Any) -> Any:
    answer = milvus.FlushResponse()
    answer.coll_segIDs["docs"].data.extend([7])
    answer.coll_flush_ts["docs"] = 99
    answer.coll_seal_times["docs"] = 1_700_000_000
    answer.channel_cps[CHANNEL].CopyFrom(msg.MsgPosition(channel_name=CHANNEL, timestamp=42))
    return answer


def test_flush_survives_passing_errors_and_keeps_the_checkpoints() -> None:
    asked: list[Any] = []

    def state(request: Any, metadata: dict[str, str]) -> Any:
        asked.append((list(request.segmentIDs), request.flush_ts, metadata["dbname"]))
        if len(asked) == 1:
            raise RuntimeError("passing")
        if len(asked) == 2:
            return milvus.GetFlushStateResponse(status=failed("passing"))
        return milvus.GetFlushStateResponse(flushed=len(asked) > 3)

    with serving("v2.5.9", Flush=flush_answer, GetFlushState=state) as client:
        point = client.points.flush("tenants", "docs")

    assert asked == [([7], 99, "tenants")] * 4
    position = msg.MsgPosition(channel_name=CHANNEL, timestamp=42).SerializeToString()
    assert point == FlushPoint(
        seal_seconds=1_700_000_000,
        checkpoints={CHANNEL: position},
        timestamps={CHANNEL: 42},
        timestamp=99,
        sealed=frozenset({7}),
    )


def test_flush_gives_up_at_once_when_the_collection_is_gone_and_in_time_otherwise() -> None:
    def gone(*_: Any) -> Any:
        return milvus.GetFlushStateResponse(status=failed("collection not found", code=100))

    def never(*_: Any) -> Any:
        return milvus.GetFlushStateResponse()

    def flush_with(state: Any, timeout: float | None = None) -> None:
        with serving("v2.5.9", Flush=flush_answer, GetFlushState=state) as client:
            client.points.flush("default", "docs", timeout=timeout)

    with pytest.raises(CollectionNotFound):
        flush_with(gone)
    with raised(MilvusError, "flush-timeout"):
        flush_with(never, timeout=0.2)


def test_an_unknown_server_is_probed_and_not_taken_for_the_newest() -> None:
    def databases(*_: Any) -> Any:
        return milvus.ListDatabasesResponse(db_names=["default"])

    def database(*_: Any) -> Any:
        pair = common.KeyValuePair(key="a", value="b")
        return milvus.DescribeDatabaseResponse(dbID=3, properties=[pair])

    with serving("master-abc", ListDatabases=databases, DescribeDatabase=database) as client:
        assert Feature.DESCRIBE_DATABASE in client.features
        assert Feature.RBAC_BACKUP not in client.features
        expected = Database(db_name="default", db_id=3, properties=[KeyValue(key="a", value="b")])
        assert client.inventory.databases() == [expected]
    with serving("master-abc") as client:
        assert client.features == {Feature.ALIASES}
        assert client.inventory.databases() == [Database(db_name="default")]


def test_segments_are_the_persistent_ones_with_what_the_server_tells() -> None:
    def segments(*_: Any) -> Any:
        flushed, growing = common.SegmentState.Flushed, common.SegmentState.Growing
        one = milvus.PersistentSegmentInfo(
            segmentID=1, partitionID=2, num_rows=3, state=flushed, storage_version=2, insert_channel=CHANNEL
        )
        l0 = milvus.PersistentSegmentInfo(segmentID=4, partitionID=-1, state=flushed, level=common.L0)
        still = milvus.PersistentSegmentInfo(segmentID=5, state=growing)
        return milvus.GetPersistentSegmentInfoResponse(infos=[one, l0, still])

    with serving("v2.6.1", GetPersistentSegmentInfo=segments) as client:
        assert client.segments.persistent("default", "docs") == [
            SegmentInfo(id=1, partition_id=2, rows=3, storage_version=2, v_channel=CHANNEL),
            SegmentInfo(id=4, partition_id=-1, rows=0, is_l0=True),
        ]


@pytest.mark.parametrize(
    ("version", "request_", "paths", "options"),
    [
        (
            "v2.3.5",
            ImportRequest("default", "docs", "p", (("i/",),), end_ts=(5 << 18) + 1),
            ["i/", ""],
            {"backup": "true", "end_ts": "6"},
        ),
        (
            "v2.6.11",
            ImportRequest(
                "default", "docs", "p", (("i/",),), end_ts=(5 << 18) + 1, storage_version=2, ezk="k"
            ),
            ["i/"],
            {
                "backup": "true",
                "end_ts": str((5 << 18) + 1),
                "skip_disk_quota_check": "true",
                "storage_version": "2",
                "ezk": "k",
            },
        ),
        (
            "v2.4.15",
            ImportRequest("default", "docs", "", (("d/",),), l0=True),
            ["d/"],
            {"l0_import": "true", "skip_disk_quota_check": "true"},
        ),
    ],
)
def test_imports_are_asked_for_in_the_terms_of_the_server(
    version: str, request_: ImportRequest, paths: list[str], options: dict[str, str]
) -> None:
    seen: list[Any] = []

    def start(request: Any, _: dict[str, str]) -> Any:
        seen.append(request)
        return milvus.ImportResponse(tasks=[17])

    def describe(*_: Any) -> Any:
        return milvus.DescribeCollectionResponse()

    with serving(version, Import=start, DescribeCollection=describe) as client:
        assert client.imports.start(request_) == "17"
    (request,) = seen
    assert list(request.files) == paths
    assert {pair.key: pair.value for pair in request.options} == options


def test_rbac_goes_over_whole_without_what_exists() -> None:
    restored: list[Any] = []
    present = milvus.RBACMeta(
        users=[milvus.UserInfo(user="root", password="other")], roles=[milvus.RoleEntity(name="reader")]
    )

    def backup(*_: Any) -> Any:
        return milvus.BackupRBACMetaResponse(RBAC_meta=present)

    def restore(request: Any, _: dict[str, str]) -> Any:
        restored.append(request.RBAC_meta)
        return common.Status()

    grantor = RbacGrantor(user=Name(name="root"), privilege=Name(name="Search"))
    wanted = Rbac(
        users=[
            RbacUser(user="root", password=SECRET),
            RbacUser(user="ann", password=SECRET, roles=[Name(name="reader")]),
        ],
        roles=[Name(name="reader"), Name(name="writer")],
        grants=[
            RbacGrant(
                role=Name(name="reader"), object=Name(name="Collection"), object_name="*", grantor=grantor
            )
        ],
        privilege_groups=[PrivilegeGroup(group_name="group", privileges=[Name(name="Search")])],
    )
    with serving("v2.5.9", BackupRBAC=backup, RestoreRBAC=restore) as client:
        assert client.access.read().users[0].password == "other"
        lines = client.access.restore(wanted)
    assert lines == ["role reader exists, not changed"]
    (meta,) = restored
    assert [(user.user, user.password, user.roles[0].name) for user in meta.users] == [
        ("ann", SECRET, "reader")
    ]
    assert [role.name for role in meta.roles] == ["writer"]
    assert [grant.grantor.privilege.name for grant in meta.grants] == ["Search"]
    assert [group.group_name for group in meta.privilege_groups] == ["group"]


def test_a_call_that_the_server_lacks_is_unsupported() -> None:
    with (
        serving("v2.5.9") as client,
        raised(Unsupported, "milvus-call-unknown", operation="read users and roles"),
    ):
        client.access.read()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import mbk.milvus, sys; print({'pymilvus', 'grpc', 'pydantic', 'msgspec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_port_that_is_open_and_silent_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with raised(MilvusUnavailable, "milvus-call-timeout", address=f"127.0.0.1:{port}") as caught:
            Channel(MilvusSettings(address="127.0.0.1", port=port), patience=0.3)
    assert caught.value.retryable


def test_calls_from_several_threads_keep_their_databases_apart() -> None:
    def collections(_: Any, metadata: dict[str, str]) -> Any:
        return milvus.ShowCollectionsResponse(collection_names=[f"in_{metadata['dbname']}"])

    databases = [f"d{number}" for number in range(40)]
    with serving("v2.5.9", ShowCollections=collections) as client, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(client.inventory.collections, databases))
    assert found == [[f"in_{database}"] for database in databases]


def test_the_version_is_asked_for_only_where_the_build_tag_tells_none() -> None:
    asked: list[str] = []

    def connecting(tag: str) -> Any:
        info = common.ServerInfo(build_tags=tag)
        return lambda *_: milvus.ConnectResponse(server_info=info, identifier=7)

    def version(*_: Any) -> Any:
        asked.append("GetVersion")
        return milvus.GetVersionResponse(version="2.6-20260404-abc")

    with serving("", Connect=connecting("v2.5.9"), GetVersion=version) as client:
        assert (client.version, asked) == ("v2.5.9", [])
    with serving("", Connect=connecting("master-abc"), GetVersion=version) as client:
        assert client.version == "2.6-20260404-abc"
        assert Feature.COLLECTION_GC_PAUSE in client.features
