"""Rows are counted from a backup's own keys and deletes: a server that loses one, or brings one back, is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

from mbk.errors import RowsWrong
from mbk.model.reports import RunReport
from tests.milvus_double.import_rows import Reader
from tests.raising import raised
from tests.versions.places import place


def filled(uri: str) -> None:
    """20 rows, of which two are deleted."""
    client = MilvusClient(uri=uri)
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    client.create_collection("docs", schema=schema, num_shards=1)
    client.insert("docs", [{"pk": key, "vector": [float(key)] * 4} for key in range(20)])
    client.delete("docs", ids=[5, 6])
    client.flush("docs")


@pytest.mark.parametrize(
    ("change", "present"),
    [(lambda rows: rows[:-1], 17), (lambda rows: [*rows, rows[0]], 19)],
    ids=["one lost", "one back"],
)
def test_a_server_that_imports_other_rows_beside_deletes_is_found_out(
    change: Callable[[Sequence[Any]], list[Any]],
    present: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Reader.rows
    with place(tmp_path, "v2.3.5") as found, found.session() as session:
        filled(found.double.uri)
        session.create("counted", format="binlog")
        (outcome,) = session.restore("counted", suffix="_right").collections
        assert (outcome.outcome, outcome.rows_expected, outcome.rows_present) == ("done", 18, 18)
        monkeypatch.setattr(Reader, "rows", lambda self, files: change(read(self, files)))
        with raised(RowsWrong, "collections-wrong") as caught:
            session.restore("counted", suffix="_wrong")
    error = caught.value
    assert isinstance(error, RowsWrong)
    assert isinstance(error.report, RunReport)
    (outcome,) = error.report.collections
    assert (outcome.outcome, outcome.rows_expected, outcome.rows_present) == ("wrong", 18, present)
    assert error.exit_code == 8
