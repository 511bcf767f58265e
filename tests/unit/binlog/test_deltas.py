from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pytest

from mbk.binlog import deltas
from mbk.binlog.deletes import Deletes, newest
from mbk.binlog.envelope import read
from mbk.errors import InvalidBackup
from tests.milvus_double.codec import decode_deletes, encode_deletes, encode_packed_deletes
from tests.milvus_double.codec.binlog import parquet_bytes, single_column
from tests.milvus_double.codec.events import DELETE, EventFile, encode_file
from tests.milvus_double.state import Delete
from tests.raising import raised
from tests.unit.binlog.objects import IDS, T0, blob

NUMBERS = [Delete(5, T0), Delete(-(2**63), T0 + 1), Delete(2**63 - 1, T0 + 2)]
TEXTS = [Delete("a", T0), Delete('ü"\\\n,5', T0 + 1), Delete("", T0 + 2)]
FORMS: dict[str, Callable[[Sequence[Delete]], bytes]] = {
    "json": lambda deletes: encode_deletes(deletes, IDS),
    "two columns": lambda deletes: encode_deletes(deletes, IDS, multi_field=True),
    "bare": encode_packed_deletes,
}


def table(deletes: Sequence[Delete]) -> pa.Table:
    pks = [item.pk for item in deletes]
    return pa.table({"pk": pa.array(pks), "ts": pa.array([item.timestamp for item in deletes], pa.uint64())})


def read_all(data: bytes) -> list[Delete]:
    rows = pa.concat_tables(deltas.read(blob(data))).to_pylist()
    return [Delete(row["pk"], row["ts"]) for row in rows]


@pytest.mark.parametrize("deletes", [NUMBERS, TEXTS], ids=["numbers", "texts"])
@pytest.mark.parametrize("form", FORMS)
def test_a_delta_log_of_each_form_is_read_as_others_wrote_it(form: str, deletes: list[Delete]) -> None:
    data = FORMS[form](deletes)
    assert read_all(data) == deletes
    assert deltas.is_plain(blob(data)) == (form == "json")


@pytest.mark.parametrize("deletes", [NUMBERS, TEXTS], ids=["numbers", "texts"])
def test_a_delta_log_is_read_by_others_as_it_was_written(deletes: list[Delete]) -> None:
    data = deltas.encode(
        table(deletes), collection=IDS.collection, partition=IDS.partition, segment=IDS.segment
    )
    assert decode_deletes(data) == deletes
    descriptor, _ = read(blob(data))
    assert (descriptor.segment, descriptor.field_id, descriptor.data_type) == (IDS.segment, -1, 20)
    assert (descriptor.start, descriptor.end) == (T0, T0 + 2)


def test_all_events_of_a_file_are_read() -> None:
    payloads = [
        parquet_bytes(single_column(pa.array([f'{{"pk":{key},"ts":{T0 + key},"pkType":5}}'])))
        for key in range(3)
    ]
    extras = {"original_size": "99", "nullable": False, "sizes": [1, {"a": 2.5}], "none": None}
    data = encode_file(EventFile(IDS, 20, DELETE, payloads, T0, T0 + 2, extras))
    assert read_all(data) == [Delete(key, T0 + key) for key in range(3)]


def test_the_form_of_the_first_versions_is_read() -> None:
    payload = parquet_bytes(single_column(pa.array([f"5,{T0}", f"-7,{T0 + 1}"])))
    data = encode_file(EventFile(IDS, 20, DELETE, [payload], T0, T0 + 1, {"original_size": "9"}))
    assert read_all(data) == [Delete(5, T0), Delete(-7, T0 + 1)]


@pytest.mark.parametrize(
    "text",
    ["", "5", '{"pk":5}', "five,6", f"{1 << 63},6", "5,-1", f"5,{1 << 64}", '{"pk":' + "[" * 50_000],
    ids=lambda text: text[:20],
)
def test_a_row_that_is_no_delete_is_told(text: str) -> None:
    payload = parquet_bytes(single_column(pa.array([text])))
    data = encode_file(EventFile(IDS, 20, DELETE, [payload], T0, T0, {"original_size": "9"}))
    with raised(InvalidBackup, "delete-invalid", key="files/delta_log/1/2/3/4"):
        read_all(data)


def test_an_insert_log_among_the_deltas_is_told() -> None:
    data = parquet_bytes(pa.table({"a": [1], "b": [2], "c": [3]}))
    with raised(InvalidBackup, "delta-log-columns", columns=3):
        read_all(data)


# -- the set -----------------------------------------------------------------------------------------------------


def matching(deletes: Deletes, keys: list[int] | list[str]) -> list[Delete]:
    found = deletes.matching(pa.chunked_array([pa.array(keys)])).to_pylist()
    return [Delete(row["pk"], row["ts"]) for row in found]


def test_only_keys_of_the_segment_match_each_once_with_its_newest_time() -> None:
    tables = [table([Delete(1, T0 + 5), Delete(2, T0)]), table([Delete(1, T0 + 9), Delete(3, T0 + 1)])]
    deletes = Deletes(lambda: iter(tables))
    assert matching(deletes, [3, 1, 1, 7]) == [Delete(3, T0 + 1), Delete(1, T0 + 9)]
    assert matching(deletes, [7]) == []


def test_older_deletes_of_a_key_are_there_for_who_cuts_the_newest_off() -> None:
    tables = [table([Delete(1, T0 + 5), Delete(2, T0)]), table([Delete(1, T0 + 9), Delete(1, T0 + 5)])]
    found = Deletes(lambda: iter(tables)).all_matching(pa.chunked_array([pa.array([3, 1])])).to_pylist()
    assert found == [{"pk": 1, "ts": T0 + 5}, {"pk": 1, "ts": T0 + 9}]


def test_texts_match_as_numbers_do() -> None:
    deletes = Deletes(lambda: iter([table(TEXTS)]))
    assert matching(deletes, ["", "b"]) == [Delete("", T0 + 2)]


def test_deletes_that_fit_are_read_once() -> None:
    reads = []

    def source() -> Iterator[pa.Table]:
        reads.append(1)
        return iter([table(NUMBERS)])

    deletes = Deletes(source)
    for _ in range(3):
        assert matching(deletes, [5]) == [Delete(5, T0)]
    assert len(reads) == 1


def test_more_deletes_than_fit_are_matched_piece_by_piece() -> None:
    tables = [table([Delete(key, T0 + turn) for key in range(1000)]) for turn in range(20)]
    tables += [
        table([Delete(10_000 + key, T0) for key in range(100 * turn, 100 * turn + 100)]) for turn in range(50)
    ]
    whole, pieces = Deletes(lambda: iter(tables)), Deletes(lambda: iter(tables), cached=8_000)
    keys = [0, 999, 10_000, 14_999, 15_000]
    assert matching(whole, keys) == matching(pieces, keys)
    assert matching(pieces, keys)[-1] == Delete(999, T0 + 19)
    assert sum(1 for _ in pieces._read()) > 2


def test_no_deletes_are_an_empty_table_of_the_right_type() -> None:
    assert newest([]).num_rows == 0
    assert Deletes(lambda: iter([])).matching(pa.chunked_array([pa.array(["a"])])).num_rows == 0
