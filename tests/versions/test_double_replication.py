"""The double as a standby: what mbk writes into its log, decoded by field numbers alone, and what it does with it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub

from mbk.config.schema import MilvusSettings
from mbk.errors import MilvusUnavailable
from mbk.milvus import connect_replication
from mbk.model.records import (
    Collection,
    CollectionSchema,
    Database,
    FieldSchema,
    IndexInfo,
    Name,
    Partition,
    Rbac,
    RbacUser,
    key_values,
)
from mbk.ports.replicate import Replication
from tests.milvus_double import objects, wal_messages
from tests.milvus_double.protowire import Wire
from tests.milvus_double.replicate import Replication as Standby
from tests.milvus_double.server import MilvusDouble
from tests.milvus_double.state import Row

SOURCE, TARGET = "east", "west"
THEIRS = ["east-dml_0", "east-dml_1"]
OURS = ["west-dml_0", "west-dml_1"]
CONTROL = "east-dml_0_vcchan"


@dataclass(frozen=True)
class Pair:
    double: MilvusDouble
    sender: Replication

    @property
    def standby(self) -> Standby:
        return self.double.services.replication

    @property
    def docs(self) -> Collection:
        fields = [
            FieldSchema(name="pk", field_id=100, data_type=5, is_primary_key=True),
            FieldSchema(name="v", field_id=101, data_type=101, type_params=key_values({"dim": "1"})),
            FieldSchema(name="$meta", field_id=102, data_type=23, is_dynamic=True),
        ]
        return Collection(
            collection_id=460001,
            db_name="archive",
            collection_name="docs",
            schema=CollectionSchema(name="docs", fields=fields, enable_dynamic_field=True),
            shards_num=2,
            consistency_level=1,
            virtual_channel_names=["east-dml_0_460001v0", "east-dml_1_460001v1"],
            physical_channel_names=THEIRS,
            partition_backups=[Partition(partition_id=460002, partition_name="_default")],
            index_infos=[
                IndexInfo(
                    field_name="v",
                    field_id=101,
                    index_name="by_v",
                    index_id=77,
                    create_time=5,
                    user_index_params=key_values({"index_type": "FLAT"}),
                )
            ],
        )

    def define(self) -> Collection:
        self.sender.create_database(Database(db_name="archive", db_id=9, properties=key_values({"a": "b"})))
        self.sender.create_collection(self.docs, 9)
        return self.docs


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with MilvusDouble("v2.6.12", home=tmp_path, flush_rate=0) as double:
        double.services.replication.follow(SOURCE, TARGET, THEIRS, OURS)
        with closing(sender(double)) as connected:
            yield Pair(double, connected)


def sender(double: MilvusDouble) -> Replication:
    settings = MilvusSettings(address=double.address, port=double.port)
    return connect_replication(settings, source=SOURCE, target=TARGET, control=CONTROL)


def test_collections_come_with_the_ids_of_their_source(pair: Pair) -> None:
    assert pair.sender.topology() == {SOURCE: tuple(THEIRS), TARGET: tuple(OURS)}
    docs = pair.define()
    pair.sender.create_index(docs, 9, docs.index_infos[0])
    pair.sender.load(docs, 9)
    state = pair.double.state
    assert (state.database("archive").id, state.database("archive").properties) == (9, {"a": "b"})
    made = state.collection("archive", "docs")
    assert (made.id, made.consistency_level, made.shards) == (460001, 1, 2)
    assert made.channels == ["west-dml_0_460001v0", "west-dml_1_460001v1"]
    assert [(field.fieldID, field.name, field.is_dynamic) for field in made.fields] == [
        (100, "pk", False),
        (101, "v", False),
        (102, "$meta", True),
    ]
    assert {part.name: (part.id, part.loaded) for part in made.partitions.values()} == {
        "_default": (460002, True)
    }
    index = made.indexes["by_v"]
    assert (index.id, index.field_name, index.params, index.created) == (77, "v", {"index_type": "FLAT"}, 5)
    assert made.loaded
    assert not pair.standby.refused


def test_a_broadcast_takes_effect_when_all_of_its_copies_are_there(pair: Pair) -> None:
    pair.sender.create_database(Database(db_name="archive", db_id=9))
    rule = pair.double.faults.break_stream(after=1, times=1)
    with pytest.raises(MilvusUnavailable):
        pair.sender.create_collection(pair.docs, 9)
    assert rule.struck == 1
    assert not pair.double.state.database("archive").collections
    # Sent again as a whole: the copy that is known is left out without an answer.
    pair.sender.create_collection(pair.docs, 9)
    assert set(pair.double.state.database("archive").collections) == {"docs"}


def test_a_lost_confirmation_does_nothing_twice(pair: Pair) -> None:
    pair.double.faults.break_stream(done=True)
    with pytest.raises(MilvusUnavailable):
        pair.sender.create_database(Database(db_name="archive", db_id=9))
    pair.sender.create_database(Database(db_name="archive", db_id=9))
    kinds = [message.kind for message in pair.standby.taken]
    assert kinds == [wal_messages.CREATE_DATABASE]
    assert pair.sender.checkpoint(OURS[0]) == 1


def test_imports_wait_for_their_commit(pair: Pair) -> None:
    docs = pair.define()
    state = pair.double.state
    made = state.collection("archive", "docs")
    written = objects.write_segment(
        state,
        made,
        460002,
        made.channels[0],
        [Row(1, 1, 10, {100: 1, 101: struct.pack("<f", 1), 102: b"{}"})],
        storage_version=1,
    )
    objects.drop_segments(state, [written])
    parent = f"{state.store.location.mount}insert_log/460001/460002/"
    options = {"backup": "true", "auto_commit": "false"}
    pair.sender.start_import(docs, job=4711, partition=460002, files=[[parent]], options=options)
    job = state.jobs[4711]
    deadline = time.monotonic() + 10
    while job.state not in ("Uncommitted", "Failed"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (job.state, job.rows, job.reason) == ("Uncommitted", 1, "")
    assert not state.visible(made)
    pair.sender.commit_import(docs, job=4711, needed=True)
    assert set(state.visible(made)) == {1}
    pair.sender.start_import(docs, job=4712, partition=460002, files=[["nowhere/"]], options=options)
    assert state.jobs[4712].state == "Failed"


def test_users_come_with_their_hashes(pair: Pair) -> None:
    rbac = Rbac(users=[RbacUser(user="ada", password="$2a$hash", roles=[Name(name="reader")])])
    rbac.roles.append(Name(name="reader"))
    pair.sender.restore_rbac(rbac, Rbac())
    ada = pair.double.state.rbac.users["ada"]
    assert (ada.encoded, ada.roles) == ("$2a$hash", {"reader"})


def test_flush_all_of_the_source_is_taken_as_it_is(pair: Pair, tmp_path: Path) -> None:
    with MilvusDouble("v2.6.12", home=tmp_path / "source", flush_rate=0) as source:
        with grpc.insecure_channel(source.target) as channel:
            answer = MilvusServiceStub(channel).FlushAll(milvus.FlushAllRequest())
        physical, message = next(iter(answer.flush_all_msgs.items()))
    pair.standby.follow(SOURCE, TARGET, [physical], OURS[:1])
    pair.sender.forward(physical, message.SerializeToString())
    assert [taken.kind for taken in pair.standby.taken] == [wal_messages.FLUSH_ALL]
    assert pair.sender.checkpoint(OURS[0]) == pair.standby.taken[0].tick


def test_strangers_are_refused(pair: Pair) -> None:
    with grpc.insecure_channel(pair.double.target) as channel:
        stub = MilvusServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            list(stub.CreateReplicateStream(iter(()), metadata=(("cluster-id", "north"),)))
        assert failed.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        foreign = milvus.GetReplicateInfoRequest(source_cluster_id=SOURCE, target_pchannel="north-dml_0")
        with pytest.raises(grpc.RpcError):
            stub.GetReplicateInfo(foreign)
        bare = milvus.ReplicateMessage(
            source_cluster_id=SOURCE, message=common.ImmutableMessage(id=common.MessageID(id="1"))
        )
        sent = iter([milvus.ReplicateRequest(replicate_message=bare)])
        with pytest.raises(grpc.RpcError) as failed:
            list(stub.CreateReplicateStream(sent, metadata=(("cluster-id", SOURCE),)))
        assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_wire_is_read_by_numbers() -> None:
    request = milvus.ImportRequest(collection_name="ü", files=["a", "b"], row_based=True)
    wire = Wire(request.SerializeToString())
    assert (wire.text(1), wire.texts(5), wire.number(4), wire.number(9)) == ("ü", ["a", "b"], 1, 0)
    segments = milvus.GetFlushStateRequest(segmentIDs=[1, -1, 1 << 60])
    assert Wire(segments.SerializeToString()).numbers(1) == [1, -1, 1 << 60]
    with pytest.raises(ValueError, match="breaks off"):
        Wire(request.SerializeToString()[:-1])
