"""A row that was deleted and inserted again before its segment was flushed, restored where imports do not look at times.

Milvus issue 29162. The same on a real 2.2.16: ``tests/e2e/test_2_2.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from pymilvus import DataType, MilvusClient

from mbk.errors import MissingDependency
from tests.raising import raised
from tests.versions.everything import rows_of
from tests.versions.places import Place, place


@pytest.fixture(params=["v2.2.16", "v2.3.3", "v2.3.5"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Its backup ``again`` holds one segment with such rows, one with deletes alone, and one without any."""
    with place(tmp_path_factory.mktemp("server"), request.param) as found:
        client = MilvusClient(uri=found.double.uri)
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("pk", DataType.INT64, is_primary=True)
        schema.add_field("text", DataType.VARCHAR, max_length=20)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
        client.create_collection("docs", schema=schema, num_shards=1)
        for keys, gone, again in (
            (range(20), [5, 6], [5]),
            (range(20, 40), [21], []),
            (range(40, 60), [], []),
        ):
            insert(client, keys, "old")
            if gone:
                client.delete("docs", ids=gone)
            if again:
                insert(client, again, "new")
            client.flush("docs")
        with found.session() as session:
            session.create("again", format="binlog")
        yield found


def insert(client: MilvusClient, keys: range | list[int], word: str) -> None:
    client.insert("docs", [{"pk": key, "text": f"{word} {key}", "vector": [float(key)] * 4} for key in keys])


def test_a_row_that_was_inserted_again_is_there_after_the_restore(server: Place) -> None:
    with server.session() as session:
        session.restore("again", suffix="_back")
    rows = rows_of(server.double, "default", "docs_back")
    assert rows == rows_of(server.double, "default", "docs")
    assert len(rows["_default"]) == 58


def test_only_the_segment_with_such_rows_is_written_anew(server: Place) -> None:
    home = server.config.parent
    with server.session() as session:
        keeping = session.settings.restore.model_copy(update={"keep_temp_files": True})
        session.settings = session.settings.model_copy(update={"restore": keeping})
        session.restore("again", suffix="_kept")
    held = {path.read_bytes() for path in (home / "backups").rglob("insert_log/**/*") if path.is_file()}
    staged = (home / "milvus" / "restore-temp-again-default-docs_kept").rglob("insert_log/**/*")
    changed = {path.parent.parent for path in staged if path.is_file() and path.read_bytes() not in held}
    assert len(changed) == (1 if server.double.version.number < (2, 3, 5) else 0)


def test_without_pyarrow_it_is_told_before_anything_is_made(
    server: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    readers = ("mbk.binlog", "mbk.engine.formats.binlog.converter", "mbk.engine.formats.binlog.rows")
    for name in [name for name in sys.modules if name.startswith(readers)]:
        monkeypatch.delitem(sys.modules, name)
    client = MilvusClient(uri=server.double.uri)
    with server.session() as session:
        if server.double.version.number >= (2, 3, 5):
            session.restore("again", suffix="_plain")
        else:
            with raised(MissingDependency, "pyarrow-missing"):
                session.restore("again", suffix="_plain")
    assert client.has_collection("docs_plain") == (server.double.version.number >= (2, 3, 5))
