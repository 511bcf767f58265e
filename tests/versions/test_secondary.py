"""A backup becomes the state of a standby: ids, rows and times, definitions; broken streams and killed runs end well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from mbk.errors import AlreadyExists, MbkError, UsageError
from mbk.model.events import Event, ImportProgressed
from mbk.model.jobs import Progress
from mbk.model.records import FieldSchema, IndexInfo, key_values
from mbk.model.reports import RunReport
from mbk.observe.meter import Meter
from mbk.session import OnEvent, Session
from tests.milvus_double.server import MilvusDouble
from tests.milvus_double.wal_messages import COMMIT_IMPORT, FLUSH_ALL
from tests.raising import raised
from tests.sharing import share_in
from tests.versions.everything import described, fill, rows_of
from tests.versions.places import Place, place

#: 2.6 commits imports by itself, 3.0 waits for a message.
VERSIONS = {"v2.6.12": None, "v3.0.1": 2}
SOURCE, TARGET = "prod", "dr"


class DoubleMetaStore:
    """What the etcd of a double would say, had it one."""

    def __init__(self, double: MilvusDouble) -> None:
        self._state = double.state

    def index_extras(self, collection_id: int) -> list[IndexInfo]:
        with self._state.lock:
            return [
                IndexInfo(
                    index_id=index.id,
                    field_id=index.field_id,
                    index_name=index.name,
                    create_time=index.created,
                    type_params=key_values(index.type_params),
                    index_params=key_values(index.params),
                    user_index_params=key_values(index.params),
                )
                for index in self._state.collection_by_id(collection_id).indexes.values()
            ]

    def dynamic_field(self, collection_id: int) -> FieldSchema | None:
        with self._state.lock:
            fields = self._state.collection_by_id(collection_id).schema.fields
            found = next((field for field in fields if field.is_dynamic), None)
        if found is None:
            return None
        return FieldSchema(
            field_id=found.fieldID, name=found.name, data_type=found.data_type, is_dynamic=True
        )

    def close(self) -> None:
        pass


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backups(version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = tmp_path_factory.mktemp("backups")
    return found


@pytest.fixture(scope="module")
def source(version: str, tmp_path_factory: pytest.TempPathFactory, backups: Path) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("source")
    with place(directory, version, backups=backups, write_version=VERSIONS[version]) as found:
        fill(found.double)
        with closing(MilvusClient(uri=found.double.uri)) as client:
            client.create_user("reader", "Secret-1")
            client.create_role("readers")
            client.grant_role("reader", "readers")
        with found.session() as session:
            session._metastore = DoubleMetaStore(found.double)
            session.create("seed", strategy="bulk_flush", format="binlog", index_extra=True, rbac=True)
            session.create("plain", strategy="bulk_flush", format="binlog")
            session.create("shared", strategy="bulk_flush", format="binlog", index_extra=True, rbac=True)
        share_in(backups, "shared")
        yield found


@pytest.fixture
def standby(version: str, tmp_path: Path, source: Place, backups: Path) -> Iterator[Place]:
    channels = [f"by-dev-rootcoord-dml_{number}" for number in range(16)]
    with place(tmp_path, version, backups=backups, write_version=VERSIONS[version]) as found:
        theirs = [name.replace("by-dev", "standby") for name in channels]
        found.double.services.replication.follow(SOURCE, TARGET, channels, theirs)
        yield found


def seed(session: Session, name: str = "seed", on_event: OnEvent | None = None) -> RunReport:
    return session.restore_secondary(name, source=SOURCE, target=TARGET, on_event=on_event)


def assert_equal(source: Place, standby: Place, report: RunReport) -> None:
    assert standby.double.services.replication.refused == []
    assert {item.source for item in report.collections} >= {"default.scalars", "archive.scalars"}
    for item in report.collections:
        database, _, name = item.source.partition(".")
        assert rows_of(standby.double, database, name) == rows_of(source.double, database, name), name
        assert described(standby.double, database, name) == described(source.double, database, name), name
        mine = standby.double.state.collection(database, name)
        theirs = source.double.state.collection(database, name)
        assert (mine.id, sorted(part.id for part in mine.partitions.values())) == (
            theirs.id,
            sorted(part.id for part in theirs.partitions.values()),
        )
        assert mine.loaded == theirs.loaded


def test_a_standby_has_what_the_source_had(source: Place, standby: Place) -> None:
    meter, told = Meter(restores=True), list[Progress]()

    def watch(event: Event) -> None:
        meter(event)
        if isinstance(event, ImportProgressed):
            told.append(meter.progress())

    with standby.session() as session:
        report = seed(session, on_event=watch)
    assert told[0].jobs_total == told[-1].jobs == told[-1].jobs_total > 0
    assert told[0].collections_total == len(report.collections)
    assert_equal(source, standby, report)
    taken = standby.double.services.replication.taken
    assert {message.kind for message in taken[-16:]} == {FLUSH_ALL}
    assert not list(standby.double.storage_root.glob("restore-temp*"))
    assert standby.double.state.rbac.users["reader"].roles == {"readers"}


def test_a_standby_is_seeded_from_a_shared_backup(source: Place, standby: Place) -> None:
    with standby.session() as session:
        assert_equal(source, standby, seed(session, "shared"))
    assert not list(standby.double.storage_root.glob("restore-temp*"))


def test_gc_leaves_what_is_staged_for_a_seeding_that_goes_on(source: Place, standby: Place) -> None:
    staged = (
        standby.double.storage_root / "restore-temp-seed-default-scalars/insert_log/7-0123456789ab/11/100/5"
    )
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"copy")
    outcomes: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, ImportProgressed) and not outcomes:
            with standby.session() as another:
                outcomes.extend(item.outcome for item in another.gc(grace="0h").leftovers)
                assert staged.exists()

    with standby.session() as session:
        report = seed(session, on_event=watch)
    assert outcomes == ["kept"]
    assert_equal(source, standby, report)


def test_a_stream_that_breaks_is_taken_up_again(source: Place, standby: Place) -> None:
    for after in (2, 9, 30):
        standby.double.faults.break_stream(after=after, done=False)
        standby.double.faults.break_stream(after=after + 3, done=True)
    with standby.session() as session:
        report = seed(session)
    assert_equal(source, standby, report)


@pytest.mark.parametrize("after", [1, 40, 90])
def test_a_run_that_failed_in_the_middle_is_gone_on_with(source: Place, standby: Place, after: int) -> None:
    """The last message is taken and not confirmed; then the stream stays broken."""
    standby.double.faults.break_stream(after=after, done=True)
    rule = standby.double.faults.break_stream(after=after, times=None)
    with standby.session() as session, pytest.raises(MbkError):
        seed(session)
    rule.end()
    with standby.session() as session:
        report = seed(session)
    assert_equal(source, standby, report)
    commits = [
        message.header.number(2)
        for message in standby.double.services.replication.taken
        if message.kind == COMMIT_IMPORT
    ]
    assert len(commits) == len(set(commits))


def test_a_standby_that_was_used_is_refused(source: Place, standby: Place) -> None:
    standby.double.services.replication.positions["standby-rootcoord-dml_3"] = 5
    with standby.session() as session, raised(AlreadyExists, "standby-not-fresh", tick=5):
        seed(session)
    assert standby.double.services.replication.taken == []


def test_a_backup_without_index_extras_is_refused(source: Place, standby: Place) -> None:
    with standby.session() as session, raised(UsageError, "standby-seed-unfit", backup="plain") as caught:
        seed(session, "plain")
    assert "--backup_index_extra" in str(caught.value)
    assert standby.double.services.replication.taken == []


def test_a_server_before_the_replicate_stream_is_refused(
    tmp_path: Path, source: Place, backups: Path
) -> None:
    with (
        place(tmp_path, "v2.5.20", backups=backups) as old,
        old.session() as session,
        raised(UsageError, "standby-unsupported", version="2.5.20"),
    ):
        seed(session)
