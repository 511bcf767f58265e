"""Create, get, restore, on every version with everything that it has: nothing of a row or a definition changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.milvus_double.versions import PLAYED
from tests.versions.everything import described, fill, rows_of
from tests.versions.places import Place, place


@pytest.fixture(scope="module", params=PLAYED)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("cycle")
    with place(directory, request.param) as found:
        # 2.2 writes deletes of older segments when their time comes, not when it flushes; here that time has come.
        found.double.state.sync_deletes = True
        fill(found.double)
        yield found


def test_everything_comes_back(filled: Place) -> None:
    with filled.session() as session:
        created = session.create("cycle", format="binlog")
        before = {
            item.source: rows_of(filled.double, *item.source.split(".")) for item in created.collections
        }
        report = session.restore("cycle", suffix="_recover", rebuild_index=True)
    assert {item.outcome for item in (*created.collections, *report.collections)} == {"done"}
    for source, rows in before.items():
        database, name = source.split(".")
        assert rows_of(filled.double, database, f"{name}_recover") == rows, source
        assert described(filled.double, database, f"{name}_recover") == described(
            filled.double, database, name
        ), source


def test_get_shows_what_was_backed_up(filled: Place) -> None:
    with filled.session() as session:
        session.create("shown", format="binlog")
        shown = session.get("shown").document
    with filled.double.state.lock:
        names = {
            (database.name, name)
            for database in filled.double.state.databases.values()
            for name in database.collections
        }
    assert {(item["db_name"], item["collection_name"]) for item in shown["collection_backups"]} == names
    assert shown["milvus_version"] == filled.double.version.name
