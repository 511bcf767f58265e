"""A real Milvus 2.3.5 whose uploads have failed: what is left of them is neither backed up nor mistaken for rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import MbkError
from mbk.model.events import Event, Notice
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Site, local_storage, make_site
from tests.raising import raised


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def site(milvus: EmbeddedMilvus, tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("orphans")
    return make_site(
        home / "backup.yaml", milvus, local_storage(milvus.storage_root), local_storage(home / "backups")
    )


def logs_of(coll: Coll, milvus: EmbeddedMilvus) -> list[Path]:
    """The insert logs of a collection, by the numbers that Milvus gave them."""
    number = coll.client.describe_collection(coll.name)["collection_id"]
    found = (milvus.storage_root / "insert_log" / str(number)).rglob("*")
    return sorted((path for path in found if path.is_file()), key=lambda path: int(path.name))


def leave(path: Path, number: int) -> Path:
    """A file that a failed upload left: what a write that was done again had in it."""
    orphan = path.with_name(str(number))
    shutil.copyfile(path, orphan)
    return orphan


def test_files_of_failed_uploads_change_nothing(
    site: Site, clients: Clients, milvus: EmbeddedMilvus, fresh: str, name: str
) -> None:
    coll = data.plain(clients, fresh, "coll")
    logs = logs_of(coll, milvus)
    numbers = [int(path.name) for path in logs]
    fields = {path.parent.name for path in logs}
    assert numbers == [*range(numbers[0], numbers[0] + len(fields))], "a block of numbers, one for each field"
    orphans = [leave(path, numbers[-1] + 1000 + place) for place, path in enumerate(logs[1:3])]
    with site.session() as session:
        events: list[Event] = []
        session.create(name, filter=str(coll), on_event=events.append)
        session.restore(name, suffix="_back", rebuild_index=True)
    notices = [event for event in events if isinstance(event, Notice)]
    (notice,) = [notice for notice in notices if notice.code == "orphans-left-out"]
    assert notice.facts["segment"] == int(orphans[0].parent.parent.name)
    copied = {path.name for path in (site.config.parent / "backups" / name).rglob("*") if path.is_file()}
    assert copied >= {path.name for path in logs}
    assert not copied & {path.name for path in orphans}
    assert_same(coll, coll.moved("coll_back"))


def test_a_column_that_is_lost_is_not_made_up_for_by_what_a_failed_upload_left(
    site: Site, clients: Clients, milvus: EmbeddedMilvus, fresh: str, name: str
) -> None:
    coll = data.plain(clients, fresh, "coll")
    lost = logs_of(coll, milvus)[0]
    kept = lost.read_bytes()
    lost.unlink()
    leave(next(iter(lost.parent.parent.glob("1/*"))), int(lost.name) + 100_000)
    with site.session() as session, raised(MbkError, segment=int(lost.parent.parent.name)):
        session.create(name, filter=str(coll))
    lost.write_bytes(kept)
