"""The Milvus port on real servers, 2.3.5 and 2.2.16."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mbk.config.schema import MilvusSettings
from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import (
    AlreadyExists,
    CollectionExists,
    CollectionNotFound,
    ImportFailed,
    MilvusError,
    MilvusUnavailable,
    NotFound,
    Unsupported,
)
from mbk.milvus import connect
from mbk.model.records import (
    LOADED,
    NOT_LOADED,
    CollectionSchema,
    FieldSchema,
    IndexInfo,
    KeyValue,
    key_values,
)
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature, ImportPhase, ImportRequest, ImportState
from tests.raising import raised

BOOL, INT8, INT16, INT32, INT64, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 10, 11
VARCHAR, ARRAY, JSON, BINARY_VECTOR, FLOAT_VECTOR, SPARSE_VECTOR = 21, 22, 23, 100, 101, 104
STRONG = 0
DIM = 16

Connect = Callable[..., Milvus]


def settings(server: EmbeddedMilvus, **changes: Any) -> MilvusSettings:
    values = {"address": server.address, "port": server.port, "management_endpoint": server.management_url}
    return MilvusSettings(**(values | changes))


@pytest.fixture(params=["milvus", "milvus_2_2"])
def server(request: pytest.FixtureRequest) -> EmbeddedMilvus:
    running: EmbeddedMilvus = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def adapter(server: EmbeddedMilvus) -> Iterator[Milvus]:
    client = connect(settings(server))
    yield client
    client.close()


@pytest.fixture
def adapter_2_3(milvus: EmbeddedMilvus) -> Iterator[Milvus]:
    client = connect(settings(milvus))
    yield client
    client.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(character if character.isalnum() else "_" for character in request.node.name)[:200]


def client_of(server: EmbeddedMilvus, database: str = "default") -> Any:
    from pymilvus import MilvusClient

    return MilvusClient(uri=f"http://{server.address}:{server.port}", db_name=database)


def field(name: str, data_type: int, /, **values: Any) -> FieldSchema:
    known: tuple[str, ...] = ("dim", "max_length", "max_capacity")
    params = {key: str(values.pop(key)) for key in known if key in values}
    return FieldSchema(name=name, data_type=data_type, type_params=key_values(params), **values)


def numbered(name: str, *fields: FieldSchema, **values: Any) -> CollectionSchema:
    for number, item in enumerate(fields, start=100):
        item.field_id = number
    return CollectionSchema(name=name, fields=list(fields), **values)


def plain(name: str) -> CollectionSchema:
    key = field("id", INT64, is_primary_key=True)
    return numbered(name, key, field("vector", FLOAT_VECTOR, dim=DIM))


def every_type(name: str, *, arrays: bool, vector: int = FLOAT_VECTOR) -> CollectionSchema:
    fields = [
        field("key", VARCHAR, is_primary_key=True, max_length=64, description="the key"),
        field("flag", BOOL),
        field("i8", INT8),
        field("i16", INT16),
        field("i32", INT32),
        field("i64", INT64),
        field("f", FLOAT),
        field("d", DOUBLE),
        field("text", VARCHAR, max_length=200),
        field("json", JSON),
        field("vector", vector, dim=DIM),
    ]
    if arrays:
        fields.append(field("numbers", ARRAY, element_type=INT32, max_capacity=10))
        fields.append(field("words", ARRAY, element_type=VARCHAR, max_capacity=10, max_length=20))
    return numbered(name, *fields, enable_dynamic_field=True, description="every type")


def row(number: int, *, arrays: bool) -> dict[str, Any]:
    values = {
        "key": f"key{number:05}",
        "flag": number % 2 == 0,
        "i8": number % 100,
        "i16": number % 30000,
        "i32": -number,
        "i64": number * 2**40,
        "f": number / 4,
        "d": number / 3,
        "text": f"text {number} é中",
        "json": {"n": number, "deep": {"list": [number, None, "x"]}},
        "vector": [float(number + at) for at in range(DIM)],
        "extra": f"dynamic {number}",
    }
    return values | ({"numbers": [number, number + 1], "words": ["a", str(number)]} if arrays else {})


def make(adapter: Milvus, schema: CollectionSchema, *, database: str = "default", **values: Any) -> None:
    adapter.definitions.create_collection(
        database, schema, **({"shards": 1, "consistency_level": STRONG} | values)
    )


def index_and_load(adapter: Milvus, collection: str, *, vector: str = "vector") -> None:
    params = {"index_type": "FLAT", "metric_type": "L2"}
    adapter.definitions.create_index(
        "default", collection, IndexInfo(field_name=vector, index_name="v", params=params)
    )
    adapter.definitions.load("default", collection)
    wait(lambda: adapter.definitions.load_progress("default", collection) == 100)


def wait(done: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def run_import(adapter: Milvus, request: ImportRequest) -> ImportState:
    job = adapter.imports.start(request)
    wait(lambda: adapter.imports.state(job).phase is not ImportPhase.RUNNING)
    return adapter.imports.state(job)


def stage(server: EmbeddedMilvus, adapter: Milvus, collection: str, target: Path) -> tuple[str, str]:
    """The segments of the collection side by side below one insert and one delta directory, as a restore stages them.

    The server reads segment ids out of the paths: their directories keep their names.
    """
    info = adapter.inventory.describe("default", collection)
    for segment in adapter.segments.persistent("default", collection):
        for kind in ("insert_log", "delta_log"):
            source = server.storage_root / kind / f"{info.id}/{segment.partition_id}/{segment.id}"
            if source.is_dir():
                shutil.copytree(source, target / kind / str(segment.id))
    delta = target / "delta_log"
    return f"{target / 'insert_log'}/", f"{delta}/" if delta.is_dir() else ""


def delta_files(server: EmbeddedMilvus, collection_id: int) -> list[Path]:
    return [
        path for path in (server.storage_root / "delta_log" / str(collection_id)).rglob("*") if path.is_file()
    ]


# -- what there is ---------------------------------------------------------------------------------------------------


def test_the_server_tells_its_version_and_features(adapter: Milvus) -> None:
    assert isinstance(adapter, Milvus)
    assert Feature.DATABASES in adapter.features
    assert Feature.L0_SEGMENTS not in adapter.features
    newer = adapter.version == "v2.3.5-lite"
    assert newer or adapter.version == "v2.2.16-lite"
    assert (Feature.COUNT in adapter.features) == newer
    assert (Feature.FLUSHES_DELETES in adapter.features) == newer


def test_a_collection_of_every_type_is_described_as_it_was_made(adapter: Milvus, name: str) -> None:
    made = every_type(name, arrays=Feature.COUNT in adapter.features)
    ttl = KeyValue(key="collection.ttl.seconds", value="86400")
    managed = KeyValue(key="max_field_id", value="7")
    make(adapter, made, shards=2, consistency_level=1, properties=[ttl, managed])
    adapter.definitions.create_partition("default", name, "cold")
    adapter.definitions.create_partition("default", name, "cold")

    info = adapter.inventory.describe("default", name)

    made.properties = [ttl]
    assert info.schema == made
    assert info.properties == (ttl,)
    assert (info.database, info.name, info.shards, info.consistency_level) == ("default", name, 2, 1)
    assert [partition.name for partition in info.partitions] == ["_default", "cold"]
    assert info.load_state == NOT_LOADED
    assert len(info.virtual_channels) == len(info.physical_channels) == 2
    assert info.created_timestamp >> 18 > 1_700_000_000_000


def test_a_partition_key_gets_the_partitions_asked_for(adapter: Milvus, name: str) -> None:
    key = field("id", INT64, is_primary_key=True, auto_id=True)
    tenant = field("tenant", VARCHAR, is_partition_key=True, max_length=20)
    made = numbered(name, key, tenant, field("vector", BINARY_VECTOR, dim=DIM))
    make(adapter, made, partitions=3)

    info = adapter.inventory.describe("default", name)

    assert [partition.name for partition in info.partitions] == ["_default_0", "_default_1", "_default_2"]
    assert info.schema == made


def test_a_default_value_survives_where_the_server_has_them(adapter_2_3: Milvus, name: str) -> None:
    made = plain(name)
    made.fields.append(field("n", INT64, field_id=102, default_value_base64="GAc="))
    make(adapter_2_3, made)
    assert adapter_2_3.inventory.describe("default", name).schema == made


def test_what_the_server_cannot_represent_is_listed_and_nothing_is_made(adapter: Milvus, name: str) -> None:
    schema = plain(name)
    schema.fields += [
        field("maybe", INT32, field_id=102, nullable=True),
        field("sparse", SPARSE_VECTOR, field_id=103),
        field("late", INT32, field_id=105),
    ]
    with raised(Unsupported, "schema-unsupported", collection=name) as caught:
        make(adapter, schema)
    reason = str(caught.value.facts["reason"])
    for part in ("maybe: null values", "sparse: the type SparseFloatVector", "late: the field id 105"):
        assert part in reason
    assert "several vector fields" in reason
    assert not adapter.inventory.has_collection("default", name)


def test_what_is_not_there_is_told_apart_from_other_failures(adapter: Milvus) -> None:
    calls: list[Callable[[], object]] = [
        lambda: adapter.inventory.describe("default", "nowhere"),
        lambda: adapter.points.flush("default", "nowhere"),
        lambda: adapter.segments.persistent("default", "nowhere"),
        lambda: adapter.definitions.load("default", "nowhere"),
        lambda: adapter.definitions.release("default", "nowhere"),
        lambda: adapter.rows.count("default", "nowhere"),
        lambda: adapter.definitions.create_alias("default", "nowhere", "other"),
        lambda: adapter.imports.start(ImportRequest("default", "nowhere", "_default", (("/a/",),))),
    ]
    for call in calls:
        with raised(CollectionNotFound, "milvus-collection-missing") as caught:
            call()
        assert "default.nowhere" in str(caught.value.facts["operation"])
    with pytest.raises(NotFound):
        adapter.inventory.collections("no_such_database")
    assert not adapter.inventory.has_collection("no_such_database", "nowhere")
    adapter.definitions.drop_collection("default", "nowhere")


def test_another_collection_of_the_same_name_is_not_replaced(adapter: Milvus, name: str) -> None:
    make(adapter, plain(name))
    with pytest.raises(CollectionExists):
        make(adapter, every_type(name, arrays=False))


def test_databases_and_aliases(adapter: Milvus, name: str) -> None:
    database = f"d_{name[:40]}"
    adapter.definitions.create_database(database, [KeyValue(key="database.replica.number", value="1")])
    with pytest.raises(AlreadyExists):
        adapter.definitions.create_database(database)
    make(adapter, plain("docs"), database=database)
    adapter.definitions.create_alias(database, "docs", "docs_current")

    assert {"default", database} <= {item.db_name for item in adapter.inventory.databases()}
    assert adapter.inventory.collections(database) == ["docs"]
    info = adapter.inventory.describe(database, "docs")
    assert (info.database, info.aliases) == (database, ("docs_current",))
    assert not adapter.inventory.has_collection("default", "docs")
    adapter.definitions.drop_collection(database, "docs")
    assert adapter.inventory.collections(database) == []


# -- flush, segments, import -------------------------------------------------------------------------------------------


def test_flush_makes_acknowledged_rows_persistent(adapter: Milvus, server: EmbeddedMilvus, name: str) -> None:
    make(adapter, plain(name), shards=2)
    assert adapter.points.flush("default", name).seal_seconds
    assert adapter.segments.persistent("default", name) == []

    rows = [{"id": number, "vector": [0.5] * DIM} for number in range(500)]
    client_of(server).insert(name, rows)
    before = time.time()
    point = adapter.points.flush("default", name)

    segments = adapter.segments.persistent("default", name)
    assert sum(segment.rows for segment in segments) == 500
    info = adapter.inventory.describe("default", name)
    assert {segment.partition_id for segment in segments} == {info.partitions[0].id}
    assert abs(point.seal_seconds - before) < 60
    if Feature.FLUSHES_DELETES in adapter.features:
        assert set(point.checkpoints) == set(point.timestamps) == set(info.virtual_channels)
        assert all(abs((stamp >> 18) / 1000 - before) < 60 for stamp in point.timestamps.values())
    else:
        assert point.checkpoints == {}


def test_flush_makes_acknowledged_deletes_persistent(
    adapter_2_3: Milvus, milvus: EmbeddedMilvus, name: str
) -> None:
    make(adapter_2_3, plain(name))
    client = client_of(milvus)
    client.insert(name, [{"id": number, "vector": [0.5] * DIM} for number in range(100)])
    adapter_2_3.points.flush("default", name)
    collection_id = adapter_2_3.inventory.describe("default", name).id
    assert delta_files(milvus, collection_id) == []

    client.delete(name, filter="id in [1, 2, 3]")
    adapter_2_3.points.flush("default", name)

    assert delta_files(milvus, collection_id)


def test_imported_rows_are_the_rows_that_were_there(
    adapter: Milvus, server: EmbeddedMilvus, name: str, tmp_path: Path
) -> None:
    arrays = Feature.COUNT in adapter.features
    source, target = f"{name}_a", f"{name}_b"
    schema = every_type(source, arrays=arrays)
    make(adapter, schema, shards=2)
    client = client_of(server)
    client.insert(source, [row(number, arrays=arrays) for number in range(300)])
    if Feature.FLUSHES_DELETES in adapter.features:
        adapter.points.flush("default", source)
        client.delete(source, filter='key in ["key00001", "key00002"]')
    adapter.points.flush("default", source)
    paths = stage(server, adapter, source, tmp_path)

    schema.name = target
    make(adapter, schema, shards=1)
    state = run_import(adapter, ImportRequest("default", target, "_default", (tuple(filter(None, paths)),)))
    assert state.reason == ""
    assert (state.phase, state.percent) == (ImportPhase.COMPLETED, 100)

    for collection in (source, target):
        index_and_load(adapter, collection)
    expected, found = [
        sorted(
            client.query(collection, filter='key >= ""', output_fields=["*"], consistency_level="Strong"),
            key=lambda item: str(item["key"]),
        )
        for collection in (source, target)
    ]
    assert found == expected
    assert state.rows == len(found) == adapter.rows.count("default", target)
    assert len(found) == (298 if Feature.FLUSHES_DELETES in adapter.features else 300)
    assert found[-1]["extra"] == "dynamic 299"


def test_an_import_goes_into_the_database_and_partition_named(
    adapter: Milvus, server: EmbeddedMilvus, name: str, tmp_path: Path
) -> None:
    database = f"d_{name[:40]}"
    adapter.definitions.create_database(database)
    make(adapter, plain(name))
    client_of(server).insert(name, [{"id": number, "vector": [0.5] * DIM} for number in range(200)])
    adapter.points.flush("default", name)
    paths = stage(server, adapter, name, tmp_path)
    make(adapter, plain(name), database=database)
    adapter.definitions.create_partition(database, name, "cold")

    run_import(adapter, ImportRequest(database, name, "cold", (tuple(filter(None, paths)),)))

    (cold,) = (item for item in adapter.inventory.describe(database, name).partitions if item.name == "cold")
    assert {(item.partition_id, item.rows) for item in adapter.segments.persistent(database, name)} == {
        (cold.id, 200)
    }


def test_an_import_can_be_cut_at_the_flush(
    adapter_2_3: Milvus, milvus: EmbeddedMilvus, name: str, tmp_path: Path
) -> None:
    source, target = f"{name}_a", f"{name}_b"
    make(adapter_2_3, plain(source))
    client = client_of(milvus)
    client.insert(source, [{"id": number, "vector": [0.5] * DIM} for number in range(100)])
    client.delete(source, filter="id in [1, 2, 3]")
    point = adapter_2_3.points.flush("default", source)
    time.sleep(0.1)
    client.insert(source, [{"id": number, "vector": [0.5] * DIM} for number in range(100, 150)])
    client.delete(source, filter="id in [4, 5]")
    adapter_2_3.points.flush("default", source)
    paths = stage(milvus, adapter_2_3, source, tmp_path)

    make(adapter_2_3, plain(target))
    end = max(point.timestamps.values())
    run_import(adapter_2_3, ImportRequest("default", target, "_default", (paths,), end_ts=end))

    index_and_load(adapter_2_3, target)
    assert adapter_2_3.rows.count("default", target) == 97


def test_imports_that_go_wrong_say_so(
    adapter: Milvus, server: EmbeddedMilvus, name: str, tmp_path: Path
) -> None:
    make(adapter, plain(name))
    nowhere = f"{tmp_path}/nowhere/"
    assert run_import(adapter, ImportRequest("default", name, "_default", ((nowhere,),))).rows == 0

    (tmp_path / "insert" / "100").mkdir(parents=True)
    (tmp_path / "insert" / "100" / "1").write_bytes(b"no binlog")
    state = run_import(adapter, ImportRequest("default", name, "_default", ((f"{tmp_path}/insert/",),)))
    assert state.phase is ImportPhase.FAILED
    assert state.reason
    assert "\n" not in state.reason

    for unknown in ("12345", "no number"):
        with pytest.raises(ImportFailed):
            adapter.imports.state(unknown)
    with pytest.raises(Unsupported):
        adapter.imports.start(ImportRequest("default", name, "_default", ((nowhere,), (nowhere,))))
    with pytest.raises(Unsupported):
        adapter.imports.start(ImportRequest("default", name, "", ((nowhere,),), l0=True))
    with raised(MilvusError, "milvus-request-failed") as caught:
        adapter.imports.start(ImportRequest("default", name, "nopart", ((nowhere,),)))
    assert "nopart" in str(caught.value.facts["reason"])


# -- indexes and loading -----------------------------------------------------------------------------------------------

VECTOR_INDEXES = {
    "FLAT": "{}",
    "IVF_FLAT": '{"nlist": 16}',
    "IVF_SQ8": '{"nlist": 16}',
    "IVF_PQ": '{"nlist": 16, "m": 4, "nbits": 8}',
    "HNSW": '{"M": 8, "efConstruction": 64}',
    "SCANN": '{"nlist": 16}',
    "AUTOINDEX": "",
}


def index_params(index_type: str, params: str, metric: str) -> dict[str, str]:
    found = {"index_type": index_type, "metric_type": metric, "params": params}
    return {key: value for key, value in found.items() if value}


def rebuilt(adapter: Milvus, source: str, target: str) -> list[tuple[str, str, str, dict[str, str]]]:
    """The target's indexes after creating the source's described ones on it."""
    for index in adapter.inventory.describe("default", source).indexes:
        adapter.definitions.create_index("default", target, index)
    return indexes(adapter, target)


def indexes(adapter: Milvus, collection: str) -> list[tuple[str, str, str, dict[str, str]]]:
    found = adapter.inventory.describe("default", collection).indexes
    return sorted((item.field_name, item.index_name, item.index_type, item.params) for item in found)


@pytest.mark.parametrize("kind", [FLOAT_VECTOR, BINARY_VECTOR], ids=["float", "binary"])
def test_described_indexes_can_be_created_again(adapter: Milvus, name: str, kind: int) -> None:
    types = (
        dict(VECTOR_INDEXES) if kind == FLOAT_VECTOR else {"BIN_FLAT": "{}", "BIN_IVF_FLAT": '{"nlist": 16}'}
    )
    if Feature.COUNT not in adapter.features:
        types.pop("SCANN", None)
    for index_type, params in types.items():
        source, target = f"{name}_{index_type}_a", f"{name}_{index_type}_b"
        for collection in (source, target):
            make(adapter, every_type(collection, arrays=False, vector=kind))
        metric = "L2" if kind == FLOAT_VECTOR else "JACCARD"
        for wanted in (
            IndexInfo(field_name="vector", index_name="v", params=index_params(index_type, params, metric)),
            IndexInfo(field_name="i64", index_name="/odd/name", params={"index_type": "STL_SORT"}),
            IndexInfo(field_name="text", index_name="t", params={"index_type": "marisa-trie"}),
            IndexInfo(field_name="i32", index_name="plain", params={}),
        ):
            adapter.definitions.create_index("default", source, wanted)
        assert len(indexes(adapter, source)) == 4
        assert rebuilt(adapter, source, target) == indexes(adapter, source)


def test_index_states_tell_when_all_rows_are_indexed(
    adapter: Milvus, server: EmbeddedMilvus, name: str
) -> None:
    make(adapter, plain(name))
    rows = [{"id": number, "vector": [number % 7 + at / 3 for at in range(DIM)]} for number in range(2000)]
    client_of(server).insert(name, rows)
    adapter.points.flush("default", name)
    params = index_params("HNSW", VECTOR_INDEXES["HNSW"], "L2")
    adapter.definitions.create_index(
        "default", name, IndexInfo(field_name="vector", index_name="v", params=params)
    )

    wait(lambda: adapter.definitions.index_states("default", name)[0].finished)

    (state,) = adapter.definitions.index_states("default", name)
    assert (state.name, state.indexed_rows, state.total_rows, state.failed) == ("v", 2000, 2000, "")
    (described,) = adapter.inventory.describe("default", name).indexes
    adapter.definitions.drop_index("default", name, described)
    assert adapter.definitions.index_states("default", name) == []


def test_load_states_by_partition(adapter: Milvus, server: EmbeddedMilvus, name: str) -> None:
    make(adapter, plain(name))
    adapter.definitions.create_partition("default", name, "cold")
    rows: list[dict[str, Any]] = [{"id": number, "vector": [0.5] * DIM} for number in range(50)]
    client_of(server).insert(name, rows)
    client_of(server).insert(name, [{**row, "id": row["id"] + 50} for row in rows], partition_name="cold")
    with raised(MilvusError, "milvus-request-failed") as caught:
        adapter.definitions.load_progress("default", name)
    assert "loaded" in str(caught.value.facts["reason"])
    params = index_params("FLAT", "{}", "L2")
    adapter.definitions.create_index(
        "default", name, IndexInfo(field_name="vector", index_name="v", params=params)
    )

    adapter.definitions.load("default", name, partitions=["cold"])
    wait(lambda: adapter.definitions.load_progress("default", name) == 100)
    partly = adapter.inventory.describe("default", name)
    assert partly.load_state == LOADED
    assert partly.partition_load_states == {"_default": NOT_LOADED, "cold": LOADED}
    assert adapter.rows.count("default", name) is None

    adapter.definitions.release("default", name)
    wait(lambda: adapter.inventory.describe("default", name).load_state == NOT_LOADED)
    adapter.definitions.load("default", name)
    wait(lambda: adapter.definitions.load_progress("default", name) == 100)
    whole = adapter.inventory.describe("default", name)
    assert whole.partition_load_states == {"_default": LOADED, "cold": LOADED}
    assert whole.replicas == 1


def test_rows_are_counted_without_the_deleted_ones(
    adapter: Milvus, server: EmbeddedMilvus, name: str
) -> None:
    make(adapter, plain(name))
    assert adapter.rows.count("default", name) is None
    index_and_load(adapter, name)
    client = client_of(server)
    client.insert(name, [{"id": number - 10, "vector": [0.5] * DIM} for number in range(60)])
    client.delete(name, filter="id in [-3, 0, 4]")
    assert adapter.rows.count("default", name) == 57


# -- the management port and the way there -----------------------------------------------------------------------------


def test_a_server_without_a_gc_pause_is_told_apart_from_a_dead_port(
    adapter: Milvus, server: EmbeddedMilvus
) -> None:
    with raised(Unsupported, "gc-pause-missing"):
        adapter.gc.pause(60)
    with raised(Unsupported, "gc-pause-missing"):
        adapter.gc.resume()
    elsewhere = connect(settings(server, management_endpoint="http://127.0.0.1:1"))
    with raised(MilvusUnavailable, "milvus-port-unreachable", endpoint="http://127.0.0.1:1"):
        elsewhere.gc.pause(60)
    elsewhere.close()
