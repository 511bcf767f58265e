"""What the double's imports let in, version by version. The rules of 2.3 are those that the real 2.3.5 was seen to follow."""

from __future__ import annotations

import http.client
import json
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen.schema_pb2 import CollectionSchema, DataType, FieldSchema

from mbk.ports.storage import Storage
from mbk.testing.memory import MemoryStorage
from mbk_local.storage import LocalStorage
from tests.milvus_double import objects
from tests.milvus_double.calls import Call
from tests.milvus_double.collections import Collections
from tests.milvus_double.import_calls import ImportCalls
from tests.milvus_double.imports import Wanted
from tests.milvus_double.refusal import Refused
from tests.milvus_double.services import Services
from tests.milvus_double.state import FLUSHED, L0, L1, Collection, Delete, ImportJob, Row, Segment, State
from tests.milvus_double.versions import server_version

CALL = Call()
SECOND = 1000 << 18


class Played:
    """One version with a source collection ``a`` of two shards and a target ``b`` of one."""

    def __init__(self, version: str, store: Storage, services: Services, state: State, root: str) -> None:
        self.store, self.services, self.state, self.root = store, services, state, root
        self.source, self.target = self.collection("a", 2), self.collection("b", 1)
        self.now = state.clock.now()

    def collection(self, name: str, shards: int) -> Collection:
        fields = [
            FieldSchema(name="pk", data_type=DataType.Int64, is_primary_key=True),
            FieldSchema(name="n", data_type=DataType.Int32),
            FieldSchema(
                name="v",
                data_type=DataType.FloatVector,
                type_params=[common.KeyValuePair(key="dim", value="2")],
            ),
        ]
        request = milvus.CreateCollectionRequest(
            collection_name=name,
            schema=CollectionSchema(name=name, fields=fields).SerializeToString(),
            shards_num=shards,
        )
        answer = Collections(self.state).CreateCollection(request, CALL)
        assert not answer.error_code, answer.reason
        return self.state.collection("default", name)

    def write(self, keys: Sequence[int], *, deletes: Sequence[Delete] = (), version: int = 1) -> Segment:
        rows = [
            Row(
                key,
                5000 + key,
                self.now + number * SECOND,
                {100: key, 101: number, 102: struct.pack("<2f", key, key)},
            )
            for number, key in enumerate(keys)
        ]
        partition = self.source.partition_named("_default").id
        return objects.write_segment(
            self.state,
            self.source,
            partition,
            self.source.channels[0],
            rows,
            deletes=deletes,
            storage_version=version,
        )

    def write_l0(self, *keys: int, partition: int = -1) -> Segment:
        deletes = [Delete(key, self.now + 1000 * SECOND) for key in keys]
        return objects.write_segment(
            self.state, self.source, partition, self.source.channels[0], deletes=deletes, level=L0
        )

    def paths(self, segment: Segment) -> list[str]:
        """The parents of the segment's directories, as a server sees them."""
        below = f"{segment.collection_id}/{segment.partition_id}/"
        mount = self.store.location.mount
        kinds = ["insert_log", "delta_log"] if segment.delta_logs else ["insert_log"]
        return [mount + self.state.key(kind, below) for kind in kinds]

    def delta(self, segment: Segment) -> str:
        return self.store.location.mount + self.state.key(
            "delta_log", segment.collection_id, segment.partition_id, f"{segment.id}/"
        )

    def ask(
        self, *files: Sequence[str], options: Mapping[str, str] | None = None, partition: str = "_default"
    ) -> ImportJob:
        wanted = Wanted("default", "b", partition, files, {"backup": "true"} if options is None else options)
        return self.services.imports.create(wanted)

    def done(self, *files: Sequence[str], **more: Any) -> ImportJob:
        return ended(self.ask(*files, **more))

    def rows(self) -> dict[Any, Row]:
        return self.state.visible(self.target)


def ended(job: ImportJob) -> ImportJob:
    deadline = time.monotonic() + 10
    while job.state not in ("Completed", "Failed", "Uncommitted"):
        assert time.monotonic() < deadline, job
        time.sleep(0.005)
    return job


@contextmanager
def played(version: str, store: Storage | None = None, root: str = "files") -> Iterator[Played]:
    store = store or MemoryStorage()
    state = State(server_version(version), store, root, write_version=1)
    with Services(state) as services:
        yield Played(version, store, services, state, root)


MODERN = ["v2.4.23", "v2.5.8", "v2.6.0", "v2.6.12", "v3.0.1"]


@pytest.mark.parametrize("version", ["v2.3.5", *MODERN])
def test_rows_come_with_their_keys_and_times_and_without_the_deleted_ones(version: str) -> None:
    with played(version) as double:
        segment = double.write([1, 2, 3], deletes=[Delete(2, double.now + 60 * SECOND), Delete(3, 5)])
        job = double.done(double.paths(segment))
        assert (job.state, job.rows) == ("Completed", 2)
        found = double.rows()
        assert {key: row.timestamp for key, row in found.items()} == {
            1: double.now,
            3: double.now + 2 * SECOND,
        }
        assert [row.row_id for row in found.values()] == [5001, 5003]
        assert {row.channel for row in found.values()} == set(double.target.channels)


@pytest.mark.parametrize("version", ["v2.2.16", "v2.3.3"])
def test_before_2_3_4_a_delete_takes_every_row_of_its_key(version: str) -> None:
    """Milvus issue 29162; met on a real 2.2.16."""
    with played(version) as double:
        segment = double.write([1, 2, 3], deletes=[Delete(2, double.now + 60 * SECOND), Delete(3, 5)])
        assert double.done(double.paths(segment)).rows == 1
        assert set(double.rows()) == {1}


@pytest.mark.parametrize("version", ["v2.2.16", "v2.3.5"])
def test_before_2_4_a_wrong_directory_is_completed_without_a_row(version: str) -> None:
    with played(version) as double:
        job = double.done(["nowhere/", ""])
        assert (job.state, job.rows) == ("Completed", 0)


def test_before_2_4_two_paths_are_asked_for() -> None:
    with played("v2.3.5") as double:
        segment = double.write([1])
        (path,) = double.paths(segment)
        assert double.done([path, ""]).state == "Completed"
        for paths in ([path], [path, "", ""]):
            job = double.done(paths)
            assert (job.state, job.reason) == (
                "Failed",
                f"unsupported file type: '{path}': importing data failed",
            )


@pytest.mark.parametrize("version", MODERN)
def test_from_2_4_on_a_wrong_directory_is_refused(version: str) -> None:
    with played(version) as double:
        with pytest.raises(Refused, match="no binlog to import"):
            double.ask(["nowhere/"])
        with pytest.raises(Refused, match="too many input paths"):
            double.ask(["a/", "b/", "c/"])
        with pytest.raises(Refused, match="partition not specified"):
            double.ask(["a/"], partition="")
        with pytest.raises(Refused, match="import request is empty"):
            double.ask([])
        with pytest.raises(Refused, match="unexpected file type"):
            double.ask(["a/"], options={})


def test_an_empty_path_lists_the_root_of_the_bucket() -> None:
    with played("v2.6.12") as double:
        double.write([1])
        job = double.done([""])
        # Its insert logs and its statistics, taken for one segment.
        assert "misaligned binlog count, field100:2, field0:1" in job.reason


@pytest.mark.parametrize("local", [False, True])
def test_a_path_without_a_slash_also_takes_the_siblings(local: bool, tmp_path: Path) -> None:
    store: Storage = LocalStorage(str(tmp_path), mount=str(tmp_path)) if local else MemoryStorage()
    with played("v2.5.8", store, root="") as double:
        segment = double.write([1])
        log = segment.insert_logs
        for directory in ("x", "xy"):
            for field, files in log.items():
                with store.read(files[0].key) as chunks:
                    store.write(f"{directory}/{field}/1", [b"".join(chunks)])
        mount = store.location.mount
        # Each sibling is taken for a segment; on a file system the first one's prefix matches the second, too.
        job = double.done([f"{mount}x"])
        if local:
            assert (job.state, job.rows) == ("Completed", 3)
        else:
            assert (job.state, job.rows) == ("Completed", 2)


def test_relative_paths_are_nothing_on_local_storage(tmp_path: Path) -> None:
    with played("v2.3.5", LocalStorage(str(tmp_path), mount=str(tmp_path)), root="") as double:
        segment = double.write([1])
        (path,) = double.paths(segment)
        assert double.done([path, ""]).rows == 1
        assert double.done([path.removeprefix(double.store.location.mount), ""]).rows == 0


@pytest.mark.parametrize(
    ("version", "field", "reason"),
    [
        ("v2.3.5", 0, "the binlog files of RowIDField is missed"),
        ("v2.3.5", 1, "the binlog files of TimeStampField is missed"),
        ("v2.3.5", 101, "the field 101 has no binlog file"),
        ("v2.4.23", 0, "no binlog for RowID field"),
        ("v2.4.23", 101, "no binlog for field:n"),
        ("v2.6.12", 1, "no binlog for Timestamp field"),
        ("v2.6.12", 101, "no binlog for field:n"),
    ],
)
def test_a_missing_column_fails_the_job(version: str, field: int, reason: str) -> None:
    with played(version) as double:
        segment = double.write([1])
        double.store.delete([file.key for file in segment.insert_logs[field]])
        job = double.done([*double.paths(segment), ""][:2])
        assert (job.state, job.reason) == ("Failed", f"{reason}: importing data failed")
        assert not double.rows()


@pytest.mark.parametrize("version", ["v2.3.5", *MODERN])
def test_every_field_needs_as_many_files(version: str) -> None:
    with played(version) as double:
        segment = double.write([1])
        objects.leave_orphans(double.state, segment)
        job = double.done([*double.paths(segment), ""][:2])
        assert job.state == "Failed"
        assert "misaligned binlog count" in job.reason or "must be equal" in job.reason


@pytest.mark.parametrize(("version", "filled"), [("v2.5.0", False), ("v2.5.8", True), ("v2.6.12", True)])
def test_nullable_columns_may_be_missing_in_newer_versions(version: str, filled: bool) -> None:
    with played(version) as double:
        segment = double.write([1])
        extra = FieldSchema(fieldID=103, name="later", data_type=DataType.VarChar, nullable=True)
        double.target.schema.fields.append(extra)
        job = double.done(double.paths(segment))
        assert job.state == ("Completed" if filled else "Failed")
        assert [row.values[103] for row in double.rows().values()] == ([None] if filled else [])


def test_types_are_compared_with_the_schema_of_the_target() -> None:
    with played("v2.6.12") as double:
        segment = double.write([1])
        double.target.fields[1].data_type = DataType.Int64
        job = double.done(double.paths(segment))
        assert "data type 4 in the file, 5 by the schema" in job.reason


@pytest.mark.parametrize(
    ("version", "hybrid"),
    [("v2.3.5", False), ("v2.4.22", False), ("v2.4.23", True), ("v2.5.5", False), ("v2.6.0", True)],
)
def test_end_ts_has_the_unit_of_its_version(version: str, hybrid: bool) -> None:
    with played(version) as double:
        segment = double.write([1, 2, 3], deletes=[Delete(1, double.now + 9 * SECOND)])
        end = double.now + SECOND if hybrid else (double.now + SECOND >> 18) + 1
        job = double.done(double.paths(segment), options={"backup": "TRUE", "end_ts": str(end)})
        # The delete is later than the end, too.
        assert (job.state, set(double.rows())) == ("Completed", {1, 2})


@pytest.mark.parametrize("version", ["v2.4.23", "2.5.27", "2.6.19"])
def test_milliseconds_are_refused_where_end_ts_is_hybrid(version: str) -> None:
    with played(version) as double:
        segment = double.write([1, 2, 3])
        options = {"backup": "true", "end_ts": str(double.now >> 18)}
        assert "end_ts is not a valid hybrid timestamp" in _refusal(double, segment, options)


def _refusal(double: Played, segment: Segment, options: Mapping[str, str]) -> str:
    """Whether the call refuses it or the job fails."""
    try:
        return double.done(double.paths(segment), options=options).reason
    except Refused as refused:
        return refused.reason


def test_packed_segments_are_asked_for_by_their_version() -> None:
    with played("v2.6.12") as double:
        segment = double.write([1, 2], version=2)
        assert sorted(segment.insert_logs) == [0, 102]
        job = double.done(double.paths(segment), options={"backup": "true", "storage_version": "2"})
        assert (job.state, job.rows) == ("Completed", 2)
        assert "no binlog for Timestamp field" in double.done(double.paths(segment)).reason
        with pytest.raises(Refused, match="storage version 3"):
            double.ask(double.paths(segment), options={"backup": "true", "storage_version": "3"})
    with played("v2.6.12") as double:
        segment = double.write([1])
        job = double.done(double.paths(segment), options={"backup": "true", "storage_version": "2"})
        assert "Parquet magic" in job.reason


def test_a_server_before_2_6_knows_no_storage_version() -> None:
    with played("v2.5.8") as double:
        segment = double.write([1])
        job = double.done(double.paths(segment), options={"backup": "true", "storage_version": "2"})
        assert job.state == "Completed"


@pytest.mark.parametrize(("version", "many"), [("v2.4.23", False), ("v2.6.0", False), ("v2.6.5", True)])
def test_deletes_of_l0_reach_the_rows_of_a_released_collection(version: str, many: bool) -> None:
    with played(version) as double:
        segment = double.write([1, 2, 3])
        first, second = double.write_l0(1), double.write_l0(3)
        options = {"l0_import": "true"}
        assert double.done(double.paths(segment)).rows == 3
        double.target.loaded = True
        with pytest.raises(Refused, match="please release it first"):
            double.ask([double.delta(first)], options=options, partition="")
        double.target.loaded = False
        both = double.done([double.delta(first)], [double.delta(second)], options=options, partition="")
        assert both.state == ("Completed" if many else "Failed")
        if not many:
            assert "there should be one prefix for l0 import" in both.reason
            for l0 in (first, second):
                assert double.done([double.delta(l0)], options=options, partition="").state == "Completed"
        assert set(double.rows()) == {2}


def test_two_phases_show_rows_only_after_the_commit() -> None:
    with played("v3.0.1") as double:
        segment = double.write([1])
        job = double.done(double.paths(segment), options={"backup": "true", "auto_commit": "false"})
        assert job.state == "Uncommitted"
        assert not double.rows()
        double.services.imports.commit(job.id)
        assert job.state == "Completed"
        assert set(double.rows()) == {1}


def test_a_full_disk_and_too_many_jobs() -> None:
    with played("v2.4.23") as double:
        segment = double.write([1])
        double.services.imports.disk_full = True
        assert "disk quota exceeded" in double.done(double.paths(segment)).reason
        skipping = {"backup": "true", "skip_disk_quota_check": "true"}
        assert double.done(double.paths(segment), options=skipping).state == "Completed"
        double.services.imports.max_jobs = 0
        with pytest.raises(Refused, match="number of jobs has reached the limit"):
            double.ask(double.paths(segment))


def test_encrypted_databases_ask_for_a_key() -> None:
    with played("v2.6.12") as double:
        segment = double.write([1])
        double.state.database("default").properties |= {"cipher.ezID": "7", "cipher.key": "root"}
        assert "no encryption key" in double.done(double.paths(segment)).reason
        assert (
            "invalid import ezk"
            in double.done(double.paths(segment), options={"backup": "true", "ezk": "nonsense"}).reason
        )
        _, answer = get(double.services.management.port, "/management/rootcoord/ez/backup?db_name=default")
        job = double.done(double.paths(segment), options={"backup": "true", "ezk": answer["ezk"]})
        assert job.state == "Completed"


def test_jobs_fail_and_stall_on_demand() -> None:
    with played("v2.6.12") as double:
        segment = double.write([1])
        double.services.faults.fail_import("out of memory", when=lambda job: job.collection == "b")
        assert double.done(double.paths(segment)).reason == "out of memory"
        stalled = double.services.faults.stall_import(at=40)
        job = double.ask(double.paths(segment))
        assert double.done(double.paths(segment)).state == "Completed"
        assert (stalled.struck, job.state, job.progress) == (1, "Importing", 40)


def test_grpc_tells_how_a_job_goes() -> None:
    with played("v2.3.5") as double:
        calls = ImportCalls(double.state, double.services.imports)
        request = milvus.ImportRequest(
            collection_name="b",
            partition_name="_default",
            files=["nowhere/", ""],
            options=[common.KeyValuePair(key="backup", value="true")],
        )
        task = calls.Import(request, CALL).tasks[0]
        ended(double.state.jobs[task])
        answer = calls.GetImportState(milvus.GetImportStateRequest(task=task), CALL)
        assert answer.state == common.ImportCompleted
        assert {pair.key: pair.value for pair in answer.infos}["files"] == "nowhere/,"
        with pytest.raises(Refused, match="key not found"):
            calls.GetImportState(milvus.GetImportStateRequest(task=1), CALL)


def test_files_are_paired_in_the_order_of_their_names() -> None:
    """Numbers with different counts of digits bring the values of one file to the keys of another."""
    with played("v2.6.12") as double:
        double.state.rows_per_log = 1
        segment = double.write([1, 2])
        for field, files in segment.insert_logs.items():
            names = ("9", "10") if field == 101 else ("1", "2")
            for file, name in zip(files, names, strict=True):
                with double.store.read(file.key) as chunks:
                    double.store.write(f"odd/7/{field}/{name}", [b"".join(chunks)])
        assert double.done(["odd/"]).state == "Completed"
        assert {key: row.values[101] for key, row in double.rows().items()} == {1: 1, 2: 0}


def test_a_job_has_at_most_1024_segments() -> None:
    with played("v2.6.12") as double:
        for number in range(1025):
            double.store.write(f"many/{number}/0/1", [b""])
        with pytest.raises(Refused, match="should not exceed 1024, but got 1025"):
            double.ask(["many/"])
        with pytest.raises(Refused, match="should not exceed 1024, but got 1100"):
            double.ask(*[["many/"]] * 1100)


# -- HTTP ------------------------------------------------------------------------------------------------------------


def get(port: int, path: str) -> tuple[int, Any]:
    return _ask(port, "GET", path)


def post(port: int, path: str, body: object, token: str = "") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return _ask(port, "POST", path, json.dumps(body), headers)


def _ask(port: int, method: str, path: str, body: str | None = None, headers: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content[:1] == b"{" else content
    finally:
        connection.close()


def test_rest_takes_jobs_and_shows_the_files_of_segments() -> None:
    with played("v2.6.12") as double:
        port = double.services.rest.port
        segment = double.write([1, 2], deletes=[Delete(1, 5)])
        body = {"collectionId": double.source.id, "segmentIds": [segment.id]}
        _, answer = post(port, "/v2/vectordb/segments/describe", body)
        (info,) = answer["data"]["segmentInfos"]
        assert info["vChannel"] == double.source.channels[0]
        assert [log["fieldID"] for log in info["insertLogs"]] == [0, 1, 100, 101, 102]
        assert info["deltaLogs"][0]["logIDs"] == [segment.delta_logs[0].log_id]
        assert (info["state"], info["level"], info["numRows"]) == (FLUSHED, L1, 2)

        wanted = {
            "collectionName": "b",
            "partitionName": "_default",
            "files": [double.paths(segment)],
            "options": {"backup": "true"},
        }
        _, created = post(port, "/v2/vectordb/jobs/import/create", wanted)
        job = created["data"]["jobId"]
        ended(double.state.jobs[int(job)])
        for call in ("describe", "get_progress"):
            _, told = post(port, f"/v2/vectordb/jobs/import/{call}", {"jobId": job})
            assert (told["data"]["state"], told["data"]["importedRows"]) == ("Completed", 2)
        _, listed = post(port, "/v2/vectordb/jobs/import/list", {"collectionName": "b"})
        assert [record["jobId"] for record in listed["data"]["records"]] == [job]
        _, unknown = post(port, "/v2/vectordb/jobs/import/describe", {"jobId": "12"})
        assert unknown["code"] == 2100
        _, missing = post(port, "/v2/vectordb/segments/describe", {"segmentIds": [12]})
        assert missing["code"] == 600


@pytest.mark.parametrize(
    ("version", "segments", "jobs"), [("v2.3.5", 404, 404), ("v2.4.23", 404, 200), ("v2.5.8", 200, 200)]
)
def test_rest_has_what_its_version_has(version: str, segments: int, jobs: int) -> None:
    with played(version) as double:
        port = double.services.rest.port
        assert post(port, "/v2/vectordb/segments/describe", {"segmentIds": []})[0] == segments
        assert post(port, "/v2/vectordb/jobs/import/list", {})[0] == jobs


def test_rest_asks_for_a_login() -> None:
    with played("v2.6.12") as double:
        double.state.authorization = True
        port = double.services.rest.port
        assert post(port, "/v2/vectordb/jobs/import/list", {})[0] == 401
        assert post(port, "/v2/vectordb/jobs/import/list", {}, "root:wrong")[0] == 401
        assert post(port, "/v2/vectordb/jobs/import/list", {}, "root:Milvus")[1]["code"] == 0


def test_rest_breaks_on_demand() -> None:
    with played("v2.6.12") as double:
        port, faults = double.services.rest.port, double.services.faults
        segment = double.write([1])
        down = faults.rest_down()
        with pytest.raises((http.client.HTTPException, OSError)):
            post(port, "/v2/vectordb/jobs/import/list", {})
        down.end()
        faults.http("*/list", status=500, body=b"broken")
        assert post(port, "/v2/vectordb/jobs/import/list", {}) == (500, b"broken")
        faults.reset_http("*/create", done=True)
        wanted = {
            "collectionName": "b",
            "partitionName": "_default",
            "files": [double.paths(segment)],
            "options": {"backup": "true"},
        }
        with pytest.raises((http.client.HTTPException, OSError)):
            post(port, "/v2/vectordb/jobs/import/create", wanted)
        (job,) = double.state.jobs.values()
        assert ended(job).rows == 1


def test_garbage_collection_pauses_as_its_version_does() -> None:
    pause, resume = (f"/management/datacoord/garbage_collection/{verb}" for verb in ("pause", "resume"))
    with played("v2.3.5") as double:
        port = double.services.management.port
        assert get(port, "/healthz") == (200, b"OK")
        assert get(port, f"{pause}?pause_seconds=60")[0] == 404
    with played("v2.5.8") as double:
        port = double.services.management.port
        assert get(port, f"{pause}?pause_seconds=60&collection_id=5") == (200, {"msg": "OK"})
        assert set(double.state.gc_paused_until) == {0}
        assert get(port, resume)[0] == 200
        assert not double.state.gc_paused_until
    with played("v2.6.12") as double:
        port = double.services.management.port
        first, second = (get(port, f"{pause}?pause_seconds=60&collection_id=5")[1]["ticket"] for _ in "ab")
        get(port, f"{resume}?ticket={first}")
        assert set(double.state.gc_paused_until) == {5}
        get(port, f"{resume}?ticket={second}")
        assert not double.state.gc_paused_until
        assert get(port, resume)[0] == 500
        assert get(port, f"{pause}?pause_seconds=0")[0] == 500
