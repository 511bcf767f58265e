"""A backup without L0 segments restores to the same rows as the one that it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.data import Clients, Coll, assert_same
from tests.sharing import share_in
from tests.versions.deleted import rich, texts
from tests.versions.places import Place, place

Tree = dict[str, Any]


@pytest.fixture(scope="module", params=["v2.4.23", "v2.6.12", "v2.6.12, shared"])
def compacted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Place, list[Coll]]]:
    """Backups ``nightly`` and ``nightly_l0compacted`` of two collections with deletes."""
    directory: Path = tmp_path_factory.mktemp("l0compact")
    version, _, layout = request.param.partition(", ")
    with place(directory, version) as found, Clients(found.double) as clients:
        colls = [rich(clients, "default"), texts(clients, "default")]
        with found.session() as session:
            session.create("nightly", format="binlog")
            if layout == "shared":
                share_in(directory / "backups", "nightly")
            session.l0compact("nightly")
        yield found, colls


def segments(where: Place, name: str) -> list[Tree]:
    with where.session() as session:
        collections = session.get(name, detail=True).document["collection_backups"]
    return [
        segment
        for collection in collections
        for part in (*collection["partition_backups"], {"segment_backups": collection.get("l0_segments", [])})
        for segment in part.get("segment_backups", [])
    ]


def test_both_backups_restore_to_the_same_rows(compacted: tuple[Place, list[Coll]]) -> None:
    where, colls = compacted
    with where.session() as session:
        for name, suffix in (("nightly", "_before"), ("nightly_l0compacted", "_after")):
            session.restore(name, suffix=suffix, rebuild_index=True, load=True)
    for coll in colls:
        rows = coll.rows()
        for suffix in ("_before", "_after"):
            assert_same(coll, replace(coll, name=f"{coll.name}{suffix}"), rows=rows)


def test_only_the_new_backup_has_no_l0_segments(compacted: tuple[Place, list[Coll]]) -> None:
    where, _ = compacted
    before, after = segments(where, "nightly"), segments(where, "nightly_l0compacted")
    gone = {item["segment_id"] for item in before} - {item["segment_id"] for item in after}
    assert gone == {item["segment_id"] for item in before if item.get("is_l0")} != set()
    assert not any(item.get("is_l0") for item in after)


def test_it_is_listed_with_its_own_size_and_deleted_as_any_other(
    compacted: tuple[Place, list[Coll]],
) -> None:
    where, _ = compacted
    with where.session() as session:
        session.l0compact("nightly", "short_lived")
        found = {item.name: item for item in session.list()}
        data = where.config.parent / "backups" / "short_lived" / "binlogs"
        assert found["short_lived"].state == "complete"
        assert found["short_lived"].size == sum(
            path.stat().st_size for path in data.rglob("*") if path.is_file()
        )
        session.delete("short_lived")
        assert "short_lived" not in {item.name for item in session.list()}
