"""mbk's own reading and writing of binlogs against a real 2.3.5: its objects are read, and it imports what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mbk.binlog import deltas, envelope, inserts
from mbk.binlog.blob import Blob
from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Site, local_storage, make_site
from tests.edited import without_record

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def coll(clients: Clients) -> Coll:
    made = data.rich(clients, clients.database("binlogs"), "coll", partitions=("p1",))
    made.insert(data.rich_rows(range(60)))
    made.insert(data.rich_rows(range(60, 90)), partition="p1")
    made.flush()
    made.delete([0, 1, 70])
    made.flush()
    made.load()
    return made


@pytest.fixture(scope="module")
def site(milvus: EmbeddedMilvus, coll: Coll, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """With a backup ``real`` of the collection."""
    home = tmp_path_factory.mktemp("binlogs")
    made = make_site(
        home / "backup.yaml", milvus, local_storage(milvus.storage_root), local_storage(home / "backups")
    )
    with made.session() as session:
        session.create("real", filter=str(coll))
    return made


def binlogs(site: Site, name: str) -> dict[Path, str]:
    """Every object of a backup's data -> ``insert_log`` or ``delta_log``."""
    top = site.config.parent / "backups" / name / "binlogs"
    return {path: path.relative_to(top).parts[0] for path in sorted(top.rglob("*")) if path.is_file()}


def blob(path: Path) -> Blob:
    content = path.read_bytes()
    return Blob(str(path), len(content), lambda offset, length: content[offset : offset + length])


def test_what_a_real_server_wrote_is_read(site: Site, coll: Coll) -> None:
    """Text, numbers, truth values and vectors are compared; arrays and JSON by what the server makes of them below."""
    numbers = {field["name"]: field["field_id"] for field in coll.described()["fields"]}
    columns: dict[int, list[Any]] = {}
    for path, kind in binlogs(site, "real").items():
        if kind == "insert_log":
            found = pa.chunked_array(inserts.read(blob(path))).to_pylist()
            columns.setdefault(int(path.parent.name), []).extend(found)
    rows = {row["pk"]: row for row in data.rich_rows(range(60)) + data.rich_rows(range(60, 90))}
    assert sorted(columns[numbers["pk"]]) == sorted(rows)
    for at, pk in enumerate(columns[numbers["pk"]]):
        for name in ("truth", "tiny", "small", "medium", "long", "double", "word"):
            assert columns[numbers[name]][at] == rows[pk][name], (pk, name)
        packed = pa.py_buffer(columns[numbers["vector"]][at])
        vector = pa.Array.from_buffers(pa.float32(), data.DIMENSION, [None, packed]).to_pylist()
        assert vector == rows[pk]["vector"]
        assert json.loads(columns[numbers["document"]][at]) == rows[pk]["document"]
    deleted = [
        pk
        for path, kind in binlogs(site, "real").items()
        if kind == "delta_log"
        for table in deltas.read(blob(path))
        for pk in table.column("pk").to_pylist()
    ]
    assert sorted(deleted) == [0, 1, 70]


def test_a_real_server_imports_what_was_written(site: Site, coll: Coll) -> None:
    with site.session() as session:
        session.create("rewritten", filter=str(coll))
        for path, kind in binlogs(site, "rewritten").items():
            path.write_bytes(rewritten(path, kind))
        # The files are not those that were recorded, which every other restore refuses.
        session.restore("rewritten", suffix="_rewritten", rebuild_index=True, verify="none")
    assert_same(coll, coll.moved("coll_rewritten"))


def rewritten(path: Path, kind: str) -> bytes:
    found, _ = envelope.read(blob(path))
    ids = {"collection": found.collection, "partition": found.partition, "segment": found.segment}
    if kind == "delta_log":
        return deltas.encode(pa.concat_tables(deltas.read(blob(path))), **ids)
    values = pa.chunked_array(inserts.read(blob(path))).combine_chunks()
    return inserts.encode(
        values, **ids, field=found.field_id, data_type=found.data_type, span=(found.start, found.end)
    )


@pytest.mark.parametrize("partition", ["own", "all"])
def test_l0_segments_made_of_real_deletes_are_compacted_into_what_a_real_server_reads(
    partition: str, site: Site, coll: Coll
) -> None:
    """2.3 writes no L0 segments: the delta logs of its segments are made into some, as a 2.4 would have left them."""
    name = f"l0_{partition}"
    with site.session() as session:
        session.create(name, filter=str(coll))
        into_l0_segments(site.config.parent / "backups" / name, everywhere=partition == "all")
        session.l0compact(name)
        session.restore(f"{name}_l0compacted", suffix=f"_{name}", rebuild_index=True)
    assert_same(coll, coll.moved(f"coll_{name}"))


def test_a_real_server_that_knows_no_l0_segments_gets_their_deletes_all_the_same(
    site: Site, coll: Coll
) -> None:
    with site.session() as session:
        session.create("with_l0", filter=str(coll))
        into_l0_segments(site.config.parent / "backups" / "with_l0", everywhere=True)
        session.restore("with_l0", suffix="_with_l0", rebuild_index=True)
    assert_same(coll, coll.moved("coll_with_l0"))


def into_l0_segments(backup: Path, *, everywhere: bool) -> None:
    without_record(backup)
    file = backup / "meta" / "full_meta.json"
    tree: Tree = json.loads(file.read_text("utf-8"))
    (collection,) = tree["collection_backups"]
    number, made = collection["collection_id"], []
    for part in collection["partition_backups"]:
        partition = -1 if everywhere else part["partition_id"]
        for segment in list(part.get("segment_backups", [])):
            logs = [log for item in segment["deltalogs"] for log in item.get("binlogs", [])]
            segment["deltalogs"] = [{}]
            if not logs:
                continue
            l0 = segment["segment_id"] + 900_000
            old = backup / f"binlogs/delta_log/{number}/{part['partition_id']}/{segment['segment_id']}"
            new = backup / f"binlogs/delta_log/{number}/{partition}/{l0}"
            new.parent.mkdir(parents=True, exist_ok=True)
            (old / str(segment["segment_id"])).rename(new if everywhere else old / str(l0))
            old.rmdir() if everywhere else old.rename(new)
            made.append(
                {
                    "segment_id": l0,
                    "collection_id": number,
                    "partition_id": partition,
                    "num_of_rows": 1,
                    "deltalogs": [{"binlogs": logs}],
                    "size": sum(log["log_size"] for log in logs),
                    "is_l0": True,
                    **({} if everywhere else {"group_id": l0}),
                }
            )
            if not everywhere:
                part["segment_backups"].append(made[-1])
    assert len(made) == 2
    if everywhere:
        collection["l0_segments"] = made
    file.write_text(json.dumps(tree), "utf-8")
