from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pymilvus.grpc_gen.schema_pb2 import FieldSchema

from mbk.binlog import inserts, packed
from mbk.binlog.blob import Blob
from mbk.binlog.envelope import INSERT, Descriptor, read, write
from mbk.errors import InvalidBackup, MbkError, UsageError
from tests.milvus_double.codec import (
    TIMESTAMP,
    decode_columns,
    encode_columns,
    system_fields,
)
from tests.milvus_double.codec.columns import from_arrow, to_arrow
from tests.milvus_double.codec.packed import encode_group
from tests.raising import raised
from tests.unit.binlog.objects import COLUMNS, FIELDS, IDS, T0, blob, joined

EVERY = [*system_fields(), *FIELDS]
BY_ID = {item.fieldID: item for item in EVERY}


def values(item: FieldSchema, column: Any) -> list[Any]:
    return from_arrow(item, column)


def encoded(item: FieldSchema, column: Any, **more: Any) -> bytes:
    options = {"nullable": item.nullable, "data_type": item.data_type} | more
    return inserts.encode(
        column,
        collection=IDS.collection,
        partition=IDS.partition,
        segment=IDS.segment,
        field=item.fieldID,
        span=(T0, T0 + 2),
        **options,
    )


@pytest.mark.parametrize("item", EVERY, ids=lambda item: f"{item.fieldID}-{item.data_type}")
def test_a_binlog_of_each_type_is_read_as_it_was_written_by_others(item: FieldSchema) -> None:
    data = encode_columns(1, FIELDS, COLUMNS, IDS)[item.fieldID]
    assert values(item, joined(list(inserts.read(blob(data))))) == COLUMNS[item.fieldID]


def test_binlogs_of_every_type_are_read_by_others_as_written() -> None:
    files = {item.fieldID: encoded(item, to_arrow(item, COLUMNS[item.fieldID])) for item in EVERY}
    assert decode_columns(1, FIELDS, files) == COLUMNS


def test_a_binlog_says_whose_it_is() -> None:
    descriptor, _ = read(blob(encoded(BY_ID[107], to_arrow(BY_ID[107], COLUMNS[107]))))
    assert (descriptor.collection, descriptor.partition, descriptor.segment, descriptor.field_id) == (
        460001,
        460002,
        460101,
        107,
    )
    assert (descriptor.start, descriptor.end, descriptor.data_type) == (T0, T0 + 2, 21)
    assert int(descriptor.extras["original_size"]) >= 1000


def test_packed_column_groups_are_read_side_by_side() -> None:
    groups = {number: [blob(data)] for number, data in encode_columns(2, FIELDS, COLUMNS, IDS).items()}
    assert set(groups) == {0, 110, 111, 112, 113, 114}
    (rows,) = packed.side_by_side(sources(groups), segment=1)
    assert {number: values(BY_ID[number], column) for number, column in rows.items()} == COLUMNS


def sources(groups: dict[int, list[Blob]]) -> dict[int, Iterator[packed.Rows]]:
    return {number: packed.read(files) for number, files in groups.items()}


def group(fields: Sequence[FieldSchema], rows: range) -> bytes:
    columns = {item.fieldID: [COLUMNS[item.fieldID][row] for row in rows] for item in fields}
    return encode_group(fields, columns)


def test_groups_that_are_cut_into_files_in_their_own_ways_are_brought_together() -> None:
    narrow, vector = [*system_fields(), BY_ID[100]], [BY_ID[110]]
    groups = {
        0: [blob(group(narrow, range(2))), blob(group(narrow, range(2, 3)))],
        110: [blob(group(vector, range(1))), blob(group(vector, range(1, 3)))],
    }
    rows = list(packed.side_by_side(sources(groups), segment=1))
    assert [len(item[TIMESTAMP]) for item in rows] == [1, 1, 1]
    assert values(BY_ID[110], joined([item[110] for item in rows])) == COLUMNS[110]
    assert values(BY_ID[100], joined([item[100] for item in rows])) == COLUMNS[100]


@pytest.mark.parametrize("short", [0, 110])
def test_a_group_with_fewer_rows_than_the_others_is_told(short: int) -> None:
    fields = {0: [*system_fields(), BY_ID[100]], 110: [BY_ID[110]]}
    groups = {
        number: [blob(group(item, range(2 if number == short else 3)))] for number, item in fields.items()
    }
    with raised(InvalidBackup, "segment-rows-incomplete", segment=17, field=short):
        list(packed.side_by_side(sources(groups), segment=17))


def test_a_wide_column_is_read_in_pieces() -> None:
    texts = pa.array([f"{row:05d}" * 1000 for row in range(3000)])
    arrays = list(inserts.read(blob(encoded(BY_ID[107], texts))))
    assert len(arrays) > 1
    assert pc.all(pc.equal(joined(arrays), texts)).as_py()


def test_nulls_are_written_only_where_the_schema_allows_them() -> None:
    with raised(InvalidBackup, "field-not-nullable", field=115, segment=460101):
        encoded(BY_ID[115], to_arrow(BY_ID[115], COLUMNS[115]), nullable=False)


@pytest.mark.parametrize(
    ("item", "column"), [(104, pa.array(["one"])), (104, pa.array([2**40])), (107, pa.array([[1]]))]
)
def test_values_of_another_type_than_the_schema_says_are_refused(item: int, column: Any) -> None:
    with raised(InvalidBackup, "field-type-differs", field=item, segment=460101):
        encoded(BY_ID[item], column)


def damaged() -> dict[str, tuple[bytes, str]]:
    """What is wrong -> the bytes, and the code of the error."""
    whole = encode_columns(1, FIELDS, COLUMNS, IDS)[100]
    return {
        "empty": (b"", "binlog-invalid"),
        "cut in the descriptor": (whole[:40], "binlog-invalid"),
        "cut in an event": (whole[:-5], "binlog-truncated"),
        "cut in the head of an event": (whole + b"\1\2", "binlog-truncated"),
        "another magic number": (b"PAR1" + whole[4:], "binlog-invalid"),
        "no parquet within": (whole[:-20] + bytes(20), "parquet-unreadable"),
    }


@pytest.mark.parametrize(("data", "code"), damaged().values(), ids=list(damaged()))
def test_a_damaged_binlog_is_told_by_its_key(data: bytes, code: str) -> None:
    with raised(InvalidBackup, code, key="files/insert_log/9") as caught:
        list(inserts.read(blob(data, "files/insert_log/9")))
    assert "\n" not in str(caught.value)


def test_an_encrypted_binlog_is_refused_with_its_reason() -> None:
    descriptor = Descriptor(
        1, 2, 3, 100, T0, T0, 5, {"original_size": "8", "edek": "key", "encryption_zone": 7}
    )
    data = write(descriptor, INSERT, b"scrambled")
    with raised(UsageError, "binlog-encrypted"):
        list(inserts.read(blob(data)))


def test_a_large_object_is_read_in_ranges_and_never_whole() -> None:
    vectors = pa.array([bytes([row % 251]) * 4096 for row in range(12_000)], pa.binary(4096))
    sink = pa.BufferOutputStream()
    fields = [pa.field("110", vectors.type, nullable=False, metadata={"PARQUET:field_id": "110"})]
    table = pa.Table.from_arrays([vectors], schema=pa.schema(fields))
    pa.parquet.write_table(table, sink, row_group_size=100, compression="none", use_dictionary=False)
    data = sink.getvalue().to_pybytes()
    asked: list[int] = []

    def fetch(offset: int, length: int) -> bytes:
        asked.append(length)
        return data[offset : offset + length]

    source = blob(data)
    source._fetch = fetch
    found = joined([rows[110] for rows in packed.read([source])])
    assert pc.all(pc.equal(found, vectors)).as_py()
    assert max(asked) < len(data) / 10


def test_an_older_server_never_meets_a_type_that_it_has_not() -> None:
    with raised(MbkError, "field-type-unsupported", type=106):
        encoded(BY_ID[110], pa.array([[b"x"]]), data_type=106)
