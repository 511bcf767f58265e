"""The double's snapshots: what is in a bundle, and what a server refuses to write to or to restore from."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen.schema_pb2 import CollectionSchema, DataType, FieldSchema

from mbk.testing.memory import MemoryService, MemoryStorage
from tests.milvus_double import objects
from tests.milvus_double.calls import Call
from tests.milvus_double.collections import Collections
from tests.milvus_double.faults import EXPORT, RESTORE
from tests.milvus_double.refusal import Refused
from tests.milvus_double.services import Services
from tests.milvus_double.snapshots import COMPLETED, FAILED, SnapshotJob, Snapshots
from tests.milvus_double.state import L0, Collection, Delete, Index, Row, State
from tests.milvus_double.versions import server_version

CALL = Call()
SPEC = json.dumps({"extfs": {"cloud_provider": "minio", "use_ssl": "false", "use_iam": "true"}})


class Played:
    def __init__(self, services: Services, state: State, service: MemoryService) -> None:
        self.services, self.state, self.service = services, state, service
        self.snapshots: Snapshots = services.snapshots

    def filled(self, version: int) -> Collection:
        fields = [
            FieldSchema(name="pk", data_type=DataType.Int64, is_primary_key=True),
            FieldSchema(
                name="v",
                data_type=DataType.FloatVector,
                type_params=[common.KeyValuePair(key="dim", value="2")],
            ),
        ]
        schema = CollectionSchema(name="a", fields=fields)
        request = milvus.CreateCollectionRequest(
            collection_name="a", schema=schema.SerializeToString(), shards_num=2
        )
        assert not Collections(self.state).CreateCollection(request, CALL).error_code
        made = self.state.collection("default", "a")
        made.indexes["v"] = Index(77, "v", 101, "v", {"index_type": "FLAT", "metric_type": "L2"})
        partition = made.partition_named("_default").id
        for number, channel in enumerate(made.channels):
            keys = [number * 10 + at for at in range(3)]
            rows = [Row(key, key, 1000 + key, {100: key, 101: struct.pack("<2f", key, key)}) for key in keys]
            objects.write_segment(
                self.state, made, partition, channel, rows, deletes=[Delete(0, 5000)], storage_version=version
            )
        objects.write_segment(self.state, made, -1, made.channels[1], deletes=[Delete(11, 5000)], level=L0)
        return made

    def make(self, name: str = "s") -> None:
        self.snapshots.CreateSnapshot(milvus.CreateSnapshotRequest(name=name, collection_name="a"), CALL)

    def export(self, uri: str = "s3://backups/b/bundle", spec: str = SPEC) -> SnapshotJob:
        request = milvus.ExportSnapshotRequest(
            name="s", collection_name="a", target_s3_path=uri, external_spec=spec
        )
        return ended(self.snapshots.exports[self.snapshots.ExportSnapshot(request, CALL).job_id])

    def restore(self, uri: str, name: str = "b", spec: str = SPEC) -> SnapshotJob:
        request = milvus.RestoreExternalSnapshotRequest(
            target_collection_name=name, snapshot_metadata_uri=uri, external_spec=spec
        )
        job = self.snapshots.RestoreExternalSnapshot(request, CALL).job_id
        return ended(self.snapshots.restores[job])

    def drop(self) -> None:
        self.snapshots.DropSnapshot(milvus.DropSnapshotRequest(name="s", collection_name="a"), CALL)

    def keys(self, bucket: str) -> list[str]:
        return [item.key for item in MemoryStorage(self.service, bucket).list()]


def ended(job: SnapshotJob) -> SnapshotJob:
    deadline = time.monotonic() + 10
    while job.running:
        assert time.monotonic() < deadline, job
        time.sleep(0.005)
    return job


@contextmanager
def played(service: MemoryService, version: str = "v3.0.1") -> Iterator[Played]:
    state = State(server_version(version), MemoryStorage(service, "milvus"), "files")
    with Services(state) as services:
        yield Played(services, state, service)


@pytest.fixture
def service() -> MemoryService:
    return MemoryService("milvus", "backups")


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("own_directory", [False, True])
def test_another_cluster_restores_what_was_exported(
    service: MemoryService, version: int, own_directory: bool
) -> None:
    with played(service) as source:
        source.snapshots.own_directory = own_directory
        made = source.filled(version)
        source.make()
        job = source.export()
        assert (job.state, job.copied) == (COMPLETED, job.files)
        assert len(source.keys("backups")) == job.files
        rows = source.state.visible(made)
        uri = job.uri
    assert uri.startswith(
        "s3://backups/b/bundle/exports/" if own_directory else "s3://backups/b/bundle/snapshots/"
    )
    # Nothing of the source is left but the bundle.
    service.buckets["milvus"].objects.clear()
    with played(service) as target:
        job = target.restore(uri)
        assert job.state == COMPLETED, job.reason
        restored = target.state.collection("default", "b")
        assert sorted(rows) == [1, 2, 10, 12]
        found = target.state.visible(restored)
        assert {key: (row.timestamp, dict(row.values)) for key, row in found.items()} == {
            key: (row.timestamp, dict(row.values)) for key, row in rows.items()
        }
        assert restored.id != made.id
        assert [field.fieldID for field in restored.fields] == [100, 101]
        assert restored.indexes["v"].id == 77
        assert {segment.storage_version for segment in restored.live_segments()} >= {version}


def test_growing_segments_are_not_in_a_snapshot_and_its_segments_outlive_compaction(
    service: MemoryService,
) -> None:
    with played(service) as double:
        made = double.filled(1)
        objects.new_segment(
            double.state, made, made.partition_named("_default").id, made.channels[0], segment_state=2
        ).rows = [Row(99, 99, 9, {100: 99, 101: b"44444444"})]
        double.make()
        objects.compact(double.state, made)
        objects.collect_garbage(double.state)
        job = double.export()
        assert job.state == COMPLETED, job.reason
        assert double.restore(job.uri).state == COMPLETED
        assert 99 not in double.state.visible(double.state.collection("default", "b"))
        double.drop()
        assert objects.collect_garbage(double.state) > 0


@pytest.mark.parametrize(
    ("uri", "spec", "reason"),
    [
        ("file:///x/y", "", "cannot go from"),
        ("s3://backups/x?y=1", "", "no query"),
        ("s3://backups", "", "no bucket or no key"),
        ("minio://elsewhere:9000/backups/x", SPEC, "another endpoint"),
        ("azure://a.blob.core.windows.net/backups/x", "", "cannot go from"),
        ("s3://backups/x", "nonsense", "no JSON object"),
        ("s3://backups/x", '{"extfs": {"cloud_provider": "aws", "use_ssl": false}}', "has to be a string"),
        ("s3://backups/x", '{"extfs": {"cloud_provider": "aws", "secret": "x"}}', "unknown keys"),
        ("s3://backups/x", '{"extfs": {"use_iam": "true"}}', "cloud_provider"),
        ("s3://backups/x", '{"extfs": {"cloud_provider": "aws"}}', "exactly one way"),
    ],
)
def test_what_the_server_cannot_reach_is_refused(
    service: MemoryService, uri: str, spec: str, reason: str
) -> None:
    with played(service) as double:
        double.filled(1)
        double.make()
        with pytest.raises(Refused, match=reason):
            double.export(uri, spec)


def test_a_uri_needs_its_tail_and_the_name_has_to_be_free(service: MemoryService) -> None:
    with played(service) as double:
        double.filled(1)
        double.make()
        job = double.export()
        with pytest.raises(Refused, match="has to end with"):
            double.restore("s3://backups/b/bundle/metadata.json")
        with pytest.raises(Refused, match="already exists"):
            double.restore(job.uri, "a")


def test_uris_may_come_back_with_an_endpoint(service: MemoryService) -> None:
    with played(service) as double:
        double.filled(1)
        double.make()
        double.snapshots.stores.canonical = True
        job = double.export()
        endpoint = double.state.store.location.endpoint
        assert job.uri.startswith(f"minio://{endpoint}/backups/b/bundle/snapshots/")
        assert double.restore(job.uri).state == COMPLETED


def test_a_snapshot_cannot_be_dropped_while_it_is_exported(service: MemoryService) -> None:
    with played(service) as double:
        double.filled(1)
        double.make()
        double.services.faults.stall_import(kind=EXPORT, at=10)
        request = milvus.ExportSnapshotRequest(
            name="s", collection_name="a", target_s3_path="s3://backups/x", external_spec=SPEC
        )
        job = double.snapshots.exports[double.snapshots.ExportSnapshot(request, CALL).job_id]
        with pytest.raises(Refused, match="pinned"):
            double.drop()
        job.state = FAILED
        double.drop()
        assert not double.state.snapshots


def test_jobs_fail_on_demand_and_a_failed_restore_leaves_its_collection(service: MemoryService) -> None:
    with played(service) as double:
        made = double.filled(1)
        double.make()
        double.services.faults.fail_import("no space", kind=EXPORT)
        assert double.export().reason == "no space"
        job = double.export()
        double.services.faults.fail_import("no space", kind=RESTORE)
        assert double.restore(job.uri).reason == "no space"
        segment = made.persistent_segments()[0]
        lost = segment.insert_logs[100][0].key.removeprefix("files/")
        MemoryStorage(service, "backups").delete([f"b/bundle/{lost}"])
        assert double.restore(job.uri).state == FAILED
        assert double.state.collection("default", "b").id


def test_state_is_told_by_job(service: MemoryService) -> None:
    with played(service) as double:
        double.filled(2)
        double.make()
        job = double.export()
        asked: Any = milvus.GetExportSnapshotStateRequest(job_id=job.id)
        info = double.snapshots.GetExportSnapshotState(asked, CALL).info
        assert (info.state, info.progress) == (milvus.ExportSnapshotCompleted, 100)
        assert (info.snapshot_metadata_uri, info.total_files) == (job.uri, job.files)
        with pytest.raises(Refused, match="not found"):
            double.snapshots.GetExportSnapshotState(milvus.GetExportSnapshotStateRequest(job_id=5), CALL)
