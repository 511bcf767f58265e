"""The adapter against what servers from 2.4 on add, over real gRPC and HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mbk.engine.backup.point import FLUSH_PATIENCE
from mbk.engine.runtime.run import Run
from mbk.errors import ImportFailed, MbkError, MilvusError, RateLimited, Unsupported
from mbk.milvus.points import Points
from mbk.milvus.proto import common, milvus
from mbk.model.records import (
    KeyValue,
)
from mbk.ports.milvus.values import (
    Feature,
    FlushAllPoint,
    ImportPhase,
    ImportRequest,
    ImportState,
    SnapshotState,
)
from tests.fakes.world import QUICK
from tests.raising import raised
from tests.unit.milvus.double import failed, serving
from tests.unit.milvus.http_double import answering

CHANNEL = "by-dev-rootcoord-dml_0"
SECRET = "$2a$10$hash"


def flushed_all(*_: Any) -> Any:
    message = common.ImmutableMessage(properties={"_tt": "3hqk9dm7h5s0", "_vc": f"{CHANNEL}_vcchan"})
    answer = milvus.FlushAllResponse(flush_all_msgs={CHANNEL: message})
    answer.cluster_info.cchannel = f"{CHANNEL}_vcchan"
    answer.cluster_info.pchannels.append(CHANNEL)
    return answer


def test_a_flush_over_everything_waits_for_the_boundary_and_keeps_it() -> None:
    asked: list[dict[str, int]] = []

    def state(request: Any, _: dict[str, str]) -> Any:
        asked.append(dict(request.flush_all_tss))
        return milvus.GetFlushAllStateResponse(flushed=len(asked) > 2)

    with serving("v2.6.11", FlushAll=flushed_all, GetFlushAllState=state) as client:
        point = client.points.flush_all(sleep=lambda _: None)
    tick = int("3hqk9dm7h5s0", 36)
    assert asked == [{CHANNEL: tick}] * 3
    message = flushed_all().flush_all_msgs[CHANNEL].SerializeToString(deterministic=True)
    assert point == FlushAllPoint({CHANNEL: message}, {CHANNEL: tick}, f"{CHANNEL}_vcchan", (CHANNEL,))


def test_a_flush_whose_end_nobody_tells_is_given_up_and_not_sent_anew() -> None:
    sent: list[str] = []

    def flush(*call: Any) -> Any:
        sent.append("flush")
        return flushed_all(*call)

    def state(*_: Any) -> Any:
        return milvus.GetFlushAllStateResponse(status=failed("node is down", code=1, retriable=True))

    run = Run(policy=QUICK)
    with serving("v2.6.11", FlushAll=flush, GetFlushAllState=state) as client:
        points = Points(client._server, patience=0)
        with pytest.raises(MbkError):
            run.retry.patiently(FLUSH_PATIENCE, "flush all", points.flush_all, sleep=lambda _: None)
    assert sent == ["flush"]


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({}, "milvus-call-unknown"),
        ({"FlushAll": lambda *_: milvus.FlushAllResponse()}, "flush-point-missing"),
    ],
)
def test_a_flush_over_everything_that_the_server_has_not_falls_away(
    answers: dict[str, Any], code: str
) -> None:
    with serving("2.6-20250801-abc", **answers) as client:
        assert Feature.FLUSH_ALL in client.features
        with raised(Unsupported, code, operation="flush all collections"):
            client.points.flush_all()
        assert Feature.FLUSH_ALL not in client.features


def test_a_server_whose_rest_is_elsewhere_loses_what_needs_it() -> None:
    with (
        answering(lambda *_: (404, "404 page not found")) as rest,
        serving("v2.5.8", settings={"rest_endpoint": f"127.0.0.1:{rest.port}"}) as client,
    ):
        with pytest.raises(Unsupported):
            client.segments.logs("default", 1, [2])
        with pytest.raises(Unsupported):
            client.imports.start(ImportRequest("default", "docs", "p", (("i/",), ("j/",)), rest=True))
        assert not {Feature.SEGMENT_DETAIL, Feature.REST_IMPORT} & client.features


def test_jobs_are_asked_about_where_they_were_started() -> None:
    def rest_answer(path: str, _: Any) -> tuple[int, Any]:
        if path.endswith("create"):
            return 200, {"code": 0, "data": {"jobId": "17"}}
        return 200, {"code": 0, "data": {"state": "Completed", "progress": 100, "importedRows": 3}}

    def grpc_state(request: Any, _: dict[str, str]) -> Any:
        assert request.task == 18
        pairs = [common.KeyValuePair(key="progress_percent", value="40")]
        return milvus.GetImportStateResponse(state=common.ImportStarted, infos=pairs)

    with (
        answering(rest_answer) as rest,
        serving(
            "v2.6.5",
            settings={"rest_endpoint": f"127.0.0.1:{rest.port}"},
            Import=lambda *_: milvus.ImportResponse(tasks=[18]),
            GetImportState=grpc_state,
        ) as client,
    ):
        over_rest = client.imports.start(
            ImportRequest("d", "docs", "p", (("i/",), ("j/", "k/")), storage_version=2, rest=True)
        )
        over_grpc = client.imports.start(ImportRequest("d", "docs", "p", (("i/",),)))
        assert client.imports.state(over_rest, database="d") == ImportState(
            ImportPhase.COMPLETED, percent=100, rows=3
        )
        assert client.imports.state(over_grpc, database="d").phase is ImportPhase.RUNNING
    assert rest.asked[0].body["options"] == {
        "backup": "true",
        "skip_disk_quota_check": "true",
        "storage_version": "2",
    }


def test_a_job_that_waits_for_its_commit_is_not_taken_for_failed() -> None:
    def grpc_state(*_: Any) -> Any:
        return milvus.GetImportStateResponse(state=common.ImportFailed)

    with (
        answering(lambda *_: (200, {"code": 0, "data": {"state": "Uncommitted"}})) as rest,
        serving(
            "v3.0.1", settings={"rest_endpoint": f"127.0.0.1:{rest.port}"}, GetImportState=grpc_state
        ) as client,
    ):
        assert client.imports.state("18").phase is ImportPhase.UNCOMMITTED
    with serving("v3.0.1", settings={"rest_endpoint": "127.0.0.1:1"}, GetImportState=grpc_state) as client:
        assert client.imports.state("18").phase is ImportPhase.FAILED


@pytest.mark.parametrize(
    ("version", "request_", "feature"),
    [
        ("v2.3.5", ImportRequest("d", "c", "p", (("d/",),), l0=True), "L0 segments"),
        (
            "v2.6.5",
            ImportRequest("d", "c", "p", (("i/",), ("j/",))),
            "import jobs with several files, except over REST",
        ),
        (
            "v2.6.4",
            ImportRequest("d", "c", "p", (("i/",), ("j/",)), l0=True, rest=True),
            "import jobs with several L0 segments",
        ),
        (
            "v2.5.8",
            ImportRequest("d", "c", "p", (("i/",),), storage_version=2),
            "packed segments (storage version 2)",
        ),
        (
            "v3.0.1",
            ImportRequest("d", "c", "p", (("i/",),), storage_version=3),
            "importing segments of storage version 3, use a snapshot",
        ),
        ("v2.5.8", ImportRequest("d", "c", "p", (("i/",),), ezk="secret"), "encrypted segments"),
        ("v2.3.5", ImportRequest("d", "c", "p", (("i/",),), rest=True), "import over REST"),
    ],
)
def test_what_a_server_cannot_import_is_refused_before_it_is_asked(
    version: str, request_: ImportRequest, feature: str
) -> None:
    with (
        serving(version) as client,
        raised(Unsupported, "milvus-feature-missing", version=version, feature=feature) as caught,
    ):
        client.imports.start(request_)
    assert "secret" not in str(caught.value)


def test_an_import_that_is_limited_can_be_tried_again() -> None:
    def limited(*_: Any) -> Any:
        return milvus.ImportResponse(status=failed("rate limit exceeded[rate=0.1]", code=8))

    with serving("v2.4.23", Import=limited) as client, pytest.raises(RateLimited) as caught:
        client.imports.start(ImportRequest("d", "c", "p", (("i/",),)))
    assert caught.value.retryable


def test_snapshots_need_a_server_that_can_export_them() -> None:
    def no_job(*_: Any) -> Any:
        return milvus.GetExportSnapshotStateResponse(status=failed("job not found"))

    with serving("v3.0.1", GetExportSnapshotState=no_job) as client:
        assert Feature.SNAPSHOT in client.features
    with serving("v2.6.15") as client:
        assert Feature.SNAPSHOT not in client.features
        with raised(Unsupported, "milvus-feature-missing", feature="snapshots"):
            client.snapshots.create("default", "docs", "s")


def test_a_snapshot_goes_out_and_comes_back() -> None:
    seen: list[Any] = []

    def keep(answer: Any) -> Callable[[Any, dict[str, str]], Any]:
        def kept(request: Any, metadata: dict[str, str]) -> Any:
            seen.append((type(request).__name__, metadata["dbname"]))
            return answer

        return kept

    exported = milvus.ExportSnapshotInfo(
        job_id=7,
        state=milvus.ExportSnapshotCompleted,
        progress=100,
        snapshot_metadata_uri="s3://b/m.json",
        total_files=3,
        total_bytes=9,
    )
    restored = milvus.RestoreSnapshotInfo(job_id=8, state=milvus.RestoreSnapshotFailed, reason="gone\naway")
    with serving(
        "v3.0.1",
        CreateSnapshot=keep(failed("snapshot name s already exists")),
        DescribeSnapshot=keep(milvus.DescribeSnapshotResponse(create_ts=42)),
        ExportSnapshot=keep(milvus.ExportSnapshotResponse(job_id=7)),
        GetExportSnapshotState=lambda *_: milvus.GetExportSnapshotStateResponse(info=exported),
        RestoreExternalSnapshot=keep(milvus.RestoreExternalSnapshotResponse(job_id=8)),
        GetRestoreSnapshotState=lambda *_: milvus.GetRestoreSnapshotStateResponse(info=restored),
        DropSnapshot=keep(common.Status()),
    ) as client:
        assert client.snapshots.create("d", "docs", "s") == 42
        assert client.snapshots.export("d", "docs", "s", uri="s3://b/x", spec="") == "7"
        assert client.snapshots.export_state("7") == SnapshotState(
            ImportPhase.COMPLETED, percent=100, metadata_uri="s3://b/m.json", files=3, size=9
        )
        assert client.snapshots.restore("d", "docs", uri="s3://b/m.json", spec="") == "8"
        assert client.snapshots.restore_state("8") == SnapshotState(ImportPhase.FAILED, reason="gone away")
        client.snapshots.drop("d", "docs", "s")
        with pytest.raises(ImportFailed):
            client.snapshots.export_state("no number")
    assert {database for _, database in seen} == {"d"}


def test_the_position_of_the_replication_channel_is_told_by_2_5_only() -> None:
    def position(request: Any, _: dict[str, str]) -> Any:
        return milvus.ReplicateMessageResponse(position=f"at {request.channel_name}")

    with serving("v2.5.20", settings={"rpc_channel_name": "mine"}, ReplicateMessage=position) as client:
        assert client.points.replicate_position() == "at mine"
    with serving("v2.6.0", ReplicateMessage=position) as client, pytest.raises(Unsupported):
        client.points.replicate_position()


def test_a_server_without_replication_has_no_position() -> None:
    reason = "deny to use the replicate message in the normal instance"
    denied = common.Status(error_code=common.UnexpectedError, code=1900, reason=reason)

    def position(request: Any, _: dict[str, str]) -> Any:
        return milvus.ReplicateMessageResponse(status=denied)

    with serving("v2.5.20", ReplicateMessage=position) as client:
        assert client.points.replicate_position() == ""


def test_the_key_of_an_encrypted_database_is_fetched_and_never_shown() -> None:
    answers = [
        (200, {"msg": "OK", "ezk": "wrapped"}),
        (200, {"msg": "no such zone", "ezk": "wrapped"}),
        (404, ""),
    ]
    with (
        answering(lambda *_: answers.pop(0)) as port,
        serving("v2.6.12", settings={"management_endpoint": f"http://127.0.0.1:{port.port}"}) as client,
    ):
        assert client.access.encryption_key("vault") == "wrapped"
        with raised(
            MilvusError, "encryption-key-unavailable", database="vault", reason="200 no such zone"
        ) as caught:
            client.access.encryption_key("vault")
        with pytest.raises(Unsupported):
            client.access.encryption_key("vault")
    assert "wrapped" not in str(caught.value)
    assert port.asked[0].path == "/management/rootcoord/ez/backup?db_name=vault"


def test_a_database_gets_the_properties_that_are_not_the_servers_own() -> None:
    seen: list[dict[str, str]] = []

    def create_database(request: Any, _: dict[str, str]) -> Any:
        seen.append({pair.key: pair.value for pair in request.properties})
        return common.Status()

    pairs = [
        KeyValue(key="database.replica.number", value="2"),
        KeyValue(key="cipher.ezID", value="7"),
        KeyValue(key="database.force.deny.ddl", value="true"),
    ]
    for version in ("v2.4.2", "v2.4.3"):
        with serving(version, CreateDatabase=create_database) as client:
            client.definitions.create_database("d", pairs)
    assert seen == [{}, {"database.replica.number": "2"}]


def test_a_collection_is_loaded_where_it_was() -> None:
    seen: list[Any] = []

    def load(request: Any, _: dict[str, str]) -> Any:
        seen.append(request)
        return common.Status()

    with serving("v2.5.8", LoadCollection=load, LoadPartitions=load) as client:
        client.definitions.load("default", "docs", replicas=2, resource_groups=["a", "b"])
        client.definitions.load("default", "docs", partitions=["p"])
    assert (seen[0].replica_number, list(seen[0].resource_groups)) == (2, ["a", "b"])
    assert (seen[1].partition_names, list(seen[1].resource_groups)) == (["p"], [])
