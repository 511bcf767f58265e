"""Arrays of structs with vectors in them: to other versions that have them, and refused where they are not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbk.errors import Unsupported
from tests.versions.everything import MAKERS, Filling, described, rows_of
from tests.versions.places import Place, place


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def fill(found: Place) -> None:
    filling = Filling(found.double)
    next(maker for maker in MAKERS if maker.name == "structs").make(filling, "structs")
    filling.close()


@pytest.mark.parametrize(
    ("source", "target"), [("v2.6.12", "2.6.19"), ("2.6.19", "v3.0.1"), ("v3.0.1", "v2.6.12")]
)
def test_vectors_in_structs_come_back_in_another_version(source: str, target: str, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    with (
        place(made(tmp_path / "source"), source, backups=backups) as newer,
        place(made(tmp_path / "target"), target, backups=backups) as other,
    ):
        fill(newer)
        with newer.session() as session:
            session.create("structs", format="binlog")
            assert session.verify("structs", depth="contents").is_whole
        with other.session() as session:
            report = session.restore("structs", rebuild_index=True)
        rows = rows_of(newer.double, "default", "structs")
        assert len(rows["_default"]) == 57
        assert rows_of(other.double, "default", "structs") == rows
        assert {item.outcome for item in report.collections} == {"done"}
        for key in ("schema", "indexes"):
            now, was = (described(item.double, "default", "structs")[key] for item in (other, newer))
            assert now == was


@pytest.mark.parametrize("target", ["v2.6.0", "2.5.27", "v2.3.22"])
def test_a_server_without_structs_gets_none_and_is_told_which_field(target: str, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    with (
        place(made(tmp_path / "source"), "v2.6.12", backups=backups) as newer,
        place(made(tmp_path / "target"), target, backups=backups) as older,
    ):
        fill(newer)
        with newer.session() as session:
            session.create("structs", format="binlog")
        with older.session() as session, pytest.raises(Unsupported) as caught:
            session.restore("structs")
        assert "chunks: arrays of structs" in str(caught.value)
        with older.double.state.lock:
            assert not older.double.state.collections
