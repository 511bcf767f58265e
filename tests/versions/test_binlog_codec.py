"""The double's codec of segment files: what the real 2.3.5 wrote is read, what the codec wrote is taken in by it."""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub
from pymilvus.grpc_gen.schema_pb2 import FieldSchema

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_local
from tests.milvus_double.codec import (
    TIMESTAMP,
    CodecError,
    LogIds,
    columns_of,
    decode_columns,
    decode_deletes,
    encode_columns,
    encode_deletes,
    encode_packed_deletes,
    rows_of,
)
from tests.milvus_double.codec.binlog import decode_binlog, encode_binlog
from tests.milvus_double.codec.events import EventFile, decode_file, encode_file
from tests.milvus_double.codec.packed import decode_group
from tests.milvus_double.server import MilvusDouble
from tests.milvus_double.state import Delete, Row

ARRAYS = ("BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR")
COUNT = 30
DELETED = [3, 5, 7]


@dataclass(frozen=True)
class Server:
    milvus: EmbeddedMilvus
    client: MilvusClient
    stub: MilvusServiceStub

    def fields(self, name: str) -> list[FieldSchema]:
        """With ``$meta``, whose id follows those of the others."""
        answer = self.stub.DescribeCollection(milvus.DescribeCollectionRequest(collection_name=name))
        last = max(field.fieldID for field in answer.schema.fields)
        return [
            *answer.schema.fields,
            FieldSchema(fieldID=last + 1, name="$meta", data_type=DataType.JSON),
        ]

    def segment(self, name: str) -> tuple[LogIds, dict[int, bytes], list[bytes]]:
        """The files of the collection's one segment: by field id, and its deltalogs."""
        (info,) = self.stub.GetPersistentSegmentInfo(
            milvus.GetPersistentSegmentInfoRequest(collectionName=name)
        ).infos
        below = f"{info.collectionID}/{info.partitionID}/{info.segmentID}"
        root = self.milvus.storage_root
        inserts = {
            int(path.parent.name): path.read_bytes() for path in (root / "insert_log" / below).glob("*/*")
        }
        deltas = [path.read_bytes() for path in (root / "delta_log" / below).glob("*")]
        return LogIds(info.collectionID, info.partitionID, info.segmentID), inserts, deltas

    def rows(self, name: str) -> list[dict[str, Any]]:
        self.client.load_collection(name)
        found = self.client.query(
            name, filter="pk >= 0", output_fields=["*"], limit=1000, consistency_level="Strong"
        )
        return sorted((plain(row) for row in found), key=lambda row: row["pk"])

    def take_in(self, name: str, inserts: Path, deltas: Path) -> common.ImportState.ValueType:
        """What mbk asks of a 2.3: two absolute directories, ``backup=true``."""
        request = milvus.ImportRequest(
            collection_name=name,
            partition_name="_default",
            files=[f"{inserts}/", f"{deltas}/"],
            options=[common.KeyValuePair(key="backup", value="true")],
        )
        task = self.stub.Import(request).tasks[0]
        while True:
            answer = self.stub.GetImportState(milvus.GetImportStateRequest(task=task))
            if answer.state in (common.ImportCompleted, common.ImportFailed):
                return answer.state
            time.sleep(0.2)


def plain(row: Any) -> dict[str, Any]:
    return {
        name: list(value)
        if hasattr(value, "__iter__") and not isinstance(value, str | bytes | dict)
        else value
        for name, value in dict(row).items()
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with milvus_local(tmp_path_factory.mktemp("milvus"), STABLE_SEGMENTS) as running:
        address = f"{running.address}:{running.port}"
        client = MilvusClient(uri=f"http://{address}")
        with grpc.insecure_channel(address) as channel:
            yield Server(running, client, MilvusServiceStub(channel))
        client.close()


@pytest.fixture(scope="module", params=["float", "binary"])
def written(request: pytest.FixtureRequest, server: Server) -> str:
    """A collection with every type of 2.3 that fits with this vector, one flushed segment, and deletes."""
    name = f"source_{request.param}"
    make(server, name, request.param)
    server.client.insert(name, [row(number, request.param) for number in range(COUNT)])
    server.client.flush(name)
    server.client.delete(name, ids=DELETED)
    server.client.flush(name)
    return name


def make(server: Server, name: str, vector: str) -> None:
    schema = server.client.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    for kind in ("BOOL", "INT8", "INT16", "INT32", "FLOAT", "DOUBLE", "JSON"):
        schema.add_field(kind.lower(), getattr(DataType, kind))
    schema.add_field("text", DataType.VARCHAR, max_length=50)
    for kind in ARRAYS:
        element = getattr(DataType, kind)
        schema.add_field(
            f"of_{kind.lower()}", DataType.ARRAY, element_type=element, max_capacity=9, max_length=20
        )
    binary = vector == "binary"
    schema.add_field("vector", DataType.BINARY_VECTOR if binary else DataType.FLOAT_VECTOR, dim=16)
    index = server.client.prepare_index_params()
    index.add_index(
        "vector", index_type="BIN_FLAT" if binary else "FLAT", metric_type="HAMMING" if binary else "L2"
    )
    # In two calls: with the index in one, pymilvus loads the collection, and then imported rows come into view late.
    server.client.create_collection(name, schema=schema)
    server.client.create_index(name, index)


def row(number: int, vector: str) -> dict[str, Any]:
    of = {
        "BOOL": [True, False],
        "INT8": [1, -number],
        "INT16": [-300],
        "INT32": [1 << 30, number],
        "INT64": [-(1 << 60), number],
        "FLOAT": [0.5, float(number)],
        "DOUBLE": [0.1],
        "VARCHAR": ["ü", f"{number}"],
    }
    return {
        "pk": number,
        "bool": number % 2 == 0,
        "int8": number - 9,
        "int16": number * 100 - 5,
        "int32": number * 70_000,
        "float": number / 4,
        "double": number / 3,
        "json": {"n": number, "list": [1, None], "s": "é"},
        "text": f"text {number} é",
        **{f"of_{kind.lower()}": values for kind, values in of.items()},
        "vector": bytes([number, 255]) if vector == "binary" else [number / 8] * 16,
        "extra": number,
        "other": {"deep": "z"},
    }


def read(fields: Sequence[FieldSchema], values: dict[int, Any]) -> dict[str, Any]:
    """A decoded row in the words of a client."""
    named = {field.name: values[field.fieldID] for field in fields}
    meta = json.loads(named.pop("$meta"))
    named["json"] = json.loads(named["json"])
    if len(named["vector"]) == 64:
        named["vector"] = list(struct.unpack("<16f", named["vector"]))
    return named | meta


def test_binlogs_of_a_real_server_hold_the_inserted_rows(server: Server, written: str) -> None:
    fields = server.fields(written)
    _, inserts, deltas = server.segment(written)
    rows = rows_of(fields[0], decode_columns(1, fields, inserts))
    vector = written.removeprefix("source_")
    assert [read(fields, dict(found.values)) for found in rows] == [
        row(number, vector) for number in range(COUNT)
    ]
    assert sorted(item.pk for data in deltas for item in decode_deletes(data)) == DELETED
    (deletes,) = {item.timestamp for data in deltas for item in decode_deletes(data)}
    assert deletes > max(found.timestamp for found in rows)


def test_what_is_encoded_again_has_the_envelope_of_the_server(server: Server, written: str) -> None:
    fields = server.fields(written)
    ids, inserts, _ = server.segment(written)
    columns = decode_columns(1, fields, inserts)
    again = encode_columns(1, fields, columns, ids)
    assert again.keys() == inserts.keys()
    for number, data in inserts.items():
        theirs, ours = decode_file(data), decode_file(again[number])
        assert ours.ids == theirs.ids
        assert (ours.kind, ours.data_type) == (theirs.kind, theirs.data_type)
        assert (ours.first_timestamp, ours.last_timestamp) == (theirs.first_timestamp, theirs.last_timestamp)
        assert ours.extras.keys() == theirs.extras.keys()
        assert encode_file(theirs)[4 + 17 :][:60] == data[4 + 17 :][:60]
        assert len(encode_file(theirs)) == len(data)


def test_a_real_server_takes_in_encoded_binlogs_and_deltalogs(
    server: Server, written: str, tmp_path: Path
) -> None:
    vector = written.removeprefix("source_")
    target = f"target_{vector}"
    make(server, target, vector)
    fields = server.fields(target)
    _, inserts, _ = server.segment(written)
    columns = decode_columns(1, fields, inserts)
    latest = max(columns[TIMESTAMP])
    ids = LogIds(11, 22, 33)
    for number, data in encode_columns(1, fields, columns, ids).items():
        put(tmp_path / "inserts" / "33" / str(number) / "471", data)
    gone = [Delete(2, latest + 5), Delete(4, latest - (1 << 40)), Delete(6, latest + 1)]
    put(tmp_path / "deltas" / "33" / "472", encode_deletes(gone, ids))

    assert server.take_in(target, tmp_path / "inserts", tmp_path / "deltas") == common.ImportCompleted

    # The second delete is older than its row.
    kept = [row(number, vector) for number in range(COUNT) if number not in (2, 6)]
    wanted = [
        kept_row | {"vector": [kept_row["vector"]]} if vector == "binary" else kept_row for kept_row in kept
    ]
    assert server.rows(target) == wanted


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def a_field(number: int, kind: int, **more: Any) -> FieldSchema:
    dim = more.pop("dim", None)
    field = FieldSchema(fieldID=number, name=f"field_{number}", data_type=kind, **more)
    if dim:
        field.type_params.append(common.KeyValuePair(key="dim", value=str(dim)))
    return field


NEWER = [
    (a_field(100, DataType.INT64, is_primary_key=True), [1, 2, 3]),
    (a_field(101, DataType.VARCHAR, nullable=True), ["a", None, "é"]),
    (a_field(102, DataType.INT8, nullable=True), [None, None, -1]),
    (a_field(103, DataType.ARRAY, element_type=DataType.INT64, nullable=True), [[1], None, []]),
    (a_field(104, DataType.FLOAT16_VECTOR, dim=2), [b"abcd", b"efgh", b"ijkl"]),
    (a_field(105, DataType.BFLOAT16_VECTOR, dim=1), [b"ab", b"ef", b"ij"]),
    (a_field(106, DataType.INT8_VECTOR, dim=3), [b"abc", b"efg", b"ijk"]),
    (a_field(107, DataType.SPARSE_FLOAT_VECTOR), [struct.pack("<If", 9, 0.5), b"", struct.pack("<If", 1, 2)]),
    (a_field(108, DataType.FLOAT_VECTOR, dim=1, nullable=True), [b"abcd", None, b"efgh"]),
    (
        a_field(109, DataType._ARRAY_OF_VECTOR, element_type=DataType.FLOAT_VECTOR, dim=1),
        [[b"abcd", b"efgh"], [], [b"ijkl"]],
    ),
    (a_field(110, DataType.GEOMETRY), [b"\x01point", b"\x01", b"\x02"]),
    (a_field(111, DataType.TIMESTAMPTZ), [0, -1, 1 << 50]),
    (a_field(112, 25), ["long", "", "text"]),
]


@pytest.mark.parametrize("version", [1, 2])
def test_types_that_the_real_server_lacks_come_back_as_they_were(version: int) -> None:
    fields = [field for field, _ in NEWER]
    rows = [
        Row(
            number + 1,
            900 + number,
            5000 + number,
            {field.fieldID: values[number] for field, values in NEWER},
        )
        for number in range(3)
    ]
    files = encode_columns(version, fields, columns_of(fields, rows), LogIds(1, 2, 3))
    assert rows_of(fields[0], decode_columns(version, fields, files)) == rows


def test_packed_segments_have_a_group_for_each_vector_and_text(tmp_path: Path) -> None:
    fields = [field for field, _ in NEWER]
    columns = {field.fieldID: values for field, values in NEWER} | {0: [1, 2, 3], 1: [4, 5, 6]}
    files = encode_columns(2, fields, columns, LogIds(1, 2, 3))
    assert sorted(files) == [0, 104, 105, 106, 107, 108, 109, 112]
    put(tmp_path / "made" / "narrow", files[0])
    found = pq.read_schema(tmp_path / "made" / "narrow")
    ids = [found.field(name).metadata[b"PARQUET:field_id"] for name in found.names]
    assert ids == [b"0", b"1", b"100", b"101", b"102", b"103", b"110", b"111"]


@pytest.mark.parametrize("keys", [[1, 2], ["one", "zwei"]])
def test_every_form_of_deltalog_is_read(keys: list[Any]) -> None:
    deletes = [Delete(keys[0], 1 << 60), Delete(keys[1], (1 << 60) + 1)]
    ids = LogIds(1, -1, 3)
    assert decode_deletes(encode_deletes(deletes, ids)) == deletes
    assert decode_deletes(encode_deletes(deletes, ids, multi_field=True)) == deletes
    assert decode_deletes(encode_packed_deletes(deletes)) == deletes
    one = decode_file(encode_deletes(deletes, ids))
    twice = EventFile(ids, one.data_type, one.kind, [*one.payloads, *one.payloads], 1, 2, one.extras)
    assert decode_deletes(encode_file(twice)) == deletes * 2


def test_files_of_the_other_version_are_refused() -> None:
    field = a_field(100, DataType.INT64)
    columns = {0: [1], 1: [2], 100: [3]}
    packed = encode_columns(2, [field], columns, LogIds(1, 2, 3))[0]
    with pytest.raises(CodecError, match="parse magic number failed"):
        decode_binlog(field, packed)
    with pytest.raises(CodecError, match="Parquet magic"):
        decode_group({100: field}, encode_columns(1, [field], columns, LogIds(1, 2, 3))[100])


def test_broken_files_and_other_types_are_refused() -> None:
    field = a_field(100, DataType.INT64)
    data = encode_binlog(field, [1, 2], LogIds(1, 2, 3), span=(1, 2))
    with pytest.raises(CodecError, match="is said to end at"):
        decode_binlog(field, data[:-1])
    with pytest.raises(CodecError, match="wrong binlog type"):
        decode_binlog(field, encode_deletes([Delete(1, 2)], LogIds(1, 2, 3)))
    with pytest.raises(CodecError, match="data type 5 in the file, 21 by the schema"):
        decode_binlog(a_field(100, DataType.VARCHAR), data)
    wide = encode_binlog(
        a_field(100, DataType.FLOAT_VECTOR, dim=2), [b"8 bytes."], LogIds(1, 2, 3), span=(1, 2)
    )
    with pytest.raises(CodecError, match="fixed_size_binary"):
        decode_binlog(a_field(100, DataType.FLOAT_VECTOR, dim=3), wide)


# -- imports: the real server and the double, over the same files ----------------------------------------------------


@dataclass(frozen=True)
class Case:
    """``edit`` spoils the files of one segment of three rows; ``paths`` are below the case's directory."""

    edit: Callable[[Path], object] = lambda _directory: None
    paths: tuple[str, ...] = ("inserts/", "")
    options: Mapping[str, str] = field(default_factory=dict)


SEGMENT = "inserts/33"


def without(number: int) -> Callable[[Path], None]:
    return lambda directory: shutil.rmtree(directory / SEGMENT / str(number))


def more(name: str, number: int, kind: int, *values: Any) -> Callable[[Path], None]:
    """One more or another file ``name`` of field ``number``."""

    def edit(directory: Path) -> None:
        target = directory / SEGMENT / str(number) / name
        target.unlink(missing_ok=True)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(encode_binlog(a_field(number, kind), values, LogIds(1, 2, 3), span=(1, 2)))

    return edit


CASES = {
    "good": Case(),
    "one path": Case(paths=("inserts/",)),
    "three paths": Case(paths=("inserts/", "", "")),
    "nothing there": Case(paths=("nothing/", "")),
    "no slash, and a sibling": Case(
        lambda directory: shutil.copytree(directory / "inserts", directory / "inserts2"), ("inserts", "")
    ),
    "the segment itself": Case(paths=(f"{SEGMENT}/", "")),
    "no row ids": Case(without(0)),
    "no timestamps": Case(without(1)),
    "a field missing": Case(without(101)),
    "one file more of a field": Case(more("472", 101, DataType.INT32, 1, 2, 3)),
    "a field that is unknown": Case(more("471", 150, DataType.INT64, 1, 2, 3)),
    "another type": Case(more("471", 101, DataType.INT64, 1, 2, 3)),
    "fewer rows": Case(more("471", 101, DataType.INT32, 1)),
    "a directory that is no number": Case(lambda directory: put(directory / SEGMENT / "meta" / "471", b"x")),
    "cut in milliseconds": Case(options={"end_ts": "1001500"}),
    "cut by a hybrid time": Case(options={"end_ts": str(1_001_500 << 18)}),
    "begun later": Case(options={"start_ts": "1000500"}),
    "an option that is unknown": Case(options={"storage_version": "2"}),
}


def small_collection(client: MilvusClient, name: str) -> None:
    schema = client.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("n", DataType.INT32)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=1)
    client.create_collection(name, schema=schema)


def small_segment(directory: Path, first: int) -> None:
    fields = [
        a_field(100, DataType.INT64, is_primary_key=True),
        a_field(101, DataType.INT32),
        a_field(102, DataType.FLOAT_VECTOR, dim=1),
    ]
    times = [(1_000_000 + 1000 * number) << 18 for number in range(3)]
    columns = {
        0: [1, 2, 3],
        1: times,
        100: [first, first + 1, first + 2],
        101: [1, 2, 3],
        102: [b"abcd"] * 3,
    }
    for number, data in encode_columns(1, fields, columns, LogIds(1, 2, 3)).items():
        put(directory / SEGMENT / str(number) / "471", data)


def outcomes(stub: MilvusServiceStub, base: Path) -> dict[str, tuple[str, int, str]]:
    """Case -> state, rows, and what the reason says before it names files or quotes Go's own errors."""
    tasks = {}
    for number, (name, case) in enumerate(CASES.items()):
        directory = base / str(number)
        paths = [path and f"{directory}/{path}" for path in case.paths]
        options = {"backup": "true"} | dict(case.options)
        request = milvus.ImportRequest(
            collection_name="imports",
            partition_name="_default",
            files=paths,
            options=[common.KeyValuePair(key=key, value=value) for key, value in options.items()],
        )
        tasks[name] = stub.Import(request).tasks[0]
    return {name: outcome(stub, task) for name, task in tasks.items()}


def outcome(stub: MilvusServiceStub, task: int) -> tuple[str, int, str]:
    while True:
        answer = stub.GetImportState(milvus.GetImportStateRequest(task=task))
        if answer.state in (common.ImportCompleted, common.ImportFailed):
            infos = {pair.key: pair.value for pair in answer.infos}
            return common.ImportState.Name(answer.state), answer.row_count, infos["failed_reason"]
        time.sleep(0.1)


#: Both fail, each in its own words.
OWN_WORDS = {"another type", "fewer rows"}


def test_the_double_takes_in_and_refuses_what_the_real_server_does(server: Server, tmp_path: Path) -> None:
    for number, case in enumerate(CASES.values()):
        small_segment(tmp_path / str(number), 100 * number)
        case.edit(tmp_path / str(number))
    small_collection(server.client, "imports")
    real = outcomes(server.stub, tmp_path)
    with MilvusDouble("v2.3.5", home=tmp_path / "double") as double:
        client = MilvusClient(uri=double.uri)
        small_collection(client, "imports")
        client.close()
        with grpc.insecure_channel(double.target) as channel:
            played = outcomes(MilvusServiceStub(channel), tmp_path)
    for name in OWN_WORDS:
        assert real[name][:2] == played[name][:2] == ("ImportFailed", 0)
        assert real.pop(name)[2]
        assert played.pop(name)[2]
    assert played == real
