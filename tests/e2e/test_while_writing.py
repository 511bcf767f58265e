"""Backups of collections that others write to meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from mbk.model.events import Event, PhaseStarted
from tests.e2e import data
from tests.e2e.data import Clients, Coll
from tests.e2e.site import Site, local_storage, make_site

BATCH = 20


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def site(milvus: EmbeddedMilvus, tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("site")
    return make_site(
        home / "backup.yaml", milvus, local_storage(milvus.storage_root), local_storage(home / "backups")
    )


class Writer:
    """Inserts and deletes as fast as it can; ``written`` and ``deleted`` hold what the server has acknowledged."""

    def __init__(self, coll: Coll) -> None:
        self.coll = coll
        self.written: dict[int, data.Row] = {}
        self.deleted: set[int] = set()
        self.asked: set[int] = set()
        self._stop = threading.Event()
        self._busy = threading.Event()
        self._thread = threading.Thread(target=self._work)

    @contextmanager
    def working(self) -> Iterator[None]:
        self._thread.start()
        try:
            assert self._busy.wait(60), "the writer wrote nothing"
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def _work(self) -> None:
        first = 0
        while not self._stop.is_set():
            rows = data.plain_rows(range(first, first + BATCH), salt="live ")
            self.coll.insert(rows)
            self.written |= {row["pk"]: row for row in rows}
            keys = range(first, first + BATCH, 4)
            self.asked |= set(keys)
            self.coll.delete(keys)
            self.deleted |= set(keys)
            first += BATCH
            if first >= 10 * BATCH:
                self._busy.set()


def test_what_was_acknowledged_before_the_flush_is_all_there(
    site: Site, clients: Clients, fresh: str
) -> None:
    writer = Writer(data.plain(clients, fresh, "live", rows=0))
    before: list[tuple[dict[int, data.Row], set[int]]] = []

    def remember(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == "flush":
            before.append((dict(writer.written), set(writer.deleted)))

    with writer.working(), site.session() as session:
        session.create(fresh, filter=str(writer.coll), on_event=remember)
    with site.session() as session:
        report = session.restore(fresh, suffix="_back", rebuild_index=True)
    copy = writer.coll.moved("live_back")
    copy.load()
    rows = copy.rows()
    ((written, deleted),) = before
    assert written.keys() - writer.asked <= rows.keys()
    assert not deleted & rows.keys()
    assert all(row == writer.written[key] for key, row in rows.items())
    assert report.collections[0].rows_present == len(rows)


def test_rows_that_come_and_go_while_it_is_backed_up_do_not_fail_the_restore(
    site: Site, clients: Clients, fresh: str
) -> None:
    """As many rows are deleted after the flush as came just before it: the counts agree, and the backup has more."""
    coll = data.plain(clients, fresh, "churn", rows=100)
    coll.delete(range(5))

    def churn(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == "flush":
            coll.insert(data.plain_rows(range(1000, 1010)))
        if isinstance(event, PhaseStarted) and event.phase == "copy":
            coll.delete(range(1000, 1010))

    with site.session() as session:
        session.create(fresh, filter=str(coll), on_event=churn)
        report = session.restore(fresh, suffix="_back", rebuild_index=True)
    copy = coll.moved("churn_back")
    copy.load()
    assert copy.rows().keys() == {*range(5, 100), *range(1000, 1010)}
    (outcome,) = report.collections
    assert (outcome.outcome, outcome.rows_present) == ("done", 105)
    assert outcome.rows_expected == 105 or outcome.notes
