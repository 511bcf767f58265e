"""What a backup of each version holds, object by object, and what it does when the server is in trouble."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mbk.engine.repository.timeline import moment, timestamp
from mbk.engine.runtime.retry import RetryPolicy
from mbk.errors import MbkError, MilvusError, PartialFailure
from mbk.model.events import Event, Notice
from mbk.model.reports import RunReport
from mbk.session import Session
from tests.milvus_double.encryption import exported_key
from tests.milvus_double.objects import collect_garbage, compact, leave_orphans
from tests.milvus_double.state import ALL_PARTITIONS, Collection, Segment
from tests.raising import raised
from tests.versions.everything import DATABASE, MAKERS, Filling
from tests.versions.places import QUICK, Place, place

VERSIONS = ("v2.2.16", "v2.3.22", "v2.4.23", "v2.5.8", "v2.6.0", "v2.6.12", "v3.0.1")
NOT_PAUSED = {"gc-pause-unsupported", "gc-pause-failed"}
MADE = {"scalars", "empty", "vectors", "full_text", "structs"}
PACE = replace(QUICK, listing=0.001, retry=RetryPolicy(first=0.001, ceiling=0.001))


@dataclass(frozen=True)
class Held:
    """A server with collections, and the backup ``nightly`` of it."""

    place: Place
    backups: Path
    report: RunReport
    notices: tuple[Notice, ...]

    def has(self, *features: str) -> bool:
        return all(self.place.double.version.has(feature) for feature in features)

    @property
    def collections(self) -> list[Collection]:
        return sorted(
            self.place.double.state.collections.values(), key=lambda item: (item.database, item.name)
        )

    def read(self, file: str) -> Any:
        return read(self.backups, file)

    @property
    def root(self) -> Any:
        return self.read("full_meta.json")

    def record(self, collection: Collection) -> Any:
        (found,) = [
            item for item in self.root["collection_backups"] if item["collection_id"] == collection.id
        ]
        return found


def read(backups: Path, file: str) -> Any:
    return json.loads((backups / "nightly" / "meta" / file).read_bytes())


def notices_of(events: Sequence[Event]) -> tuple[Notice, ...]:
    return tuple(event for event in events if isinstance(event, Notice))


def codes(notices: Sequence[Notice]) -> list[str]:
    return [notice.code for notice in notices]


def objects(backups: Path) -> dict[str, bytes]:
    """What lies below ``binlogs/``."""
    data = backups / "nightly" / "binlogs"
    return {
        path.relative_to(data).as_posix(): path.read_bytes() for path in data.rglob("*") if path.is_file()
    }


#: Nothing is sorted while a test compares what was backed up with what the server holds.
LATER = 3600.0


def places_of(segment: Segment) -> dict[str, str]:
    """The key in the backup of each object that belongs there -> its key in Milvus' storage."""
    ids = f"{segment.collection_id}/{segment.partition_id}"
    group = "" if segment.partition_id == ALL_PARTITIONS else f"{segment.id}/"
    found = {
        f"insert_log/{ids}/{group}{segment.id}/{directory}/{log.log_id}": log.key
        for directory, logs in segment.insert_logs.items()
        for log in logs
    }
    return found | {
        f"delta_log/{ids}/{group}{segment.id}/{log.log_id}": log.key for log in segment.delta_logs
    }


@pytest.fixture(scope="module", params=VERSIONS)
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    directory: Path = tmp_path_factory.mktemp("backup")
    with place(directory, request.param) as found:
        found.double.state.sync_deletes = True
        found.double.state.sort_seconds = LATER
        filling = Filling(found.double)
        if filling.has("databases"):
            filling.client().create_database(DATABASE)
        for maker in MAKERS:
            if maker.name in MADE and filling.has(*maker.needs):
                maker.make(filling, maker.name)
        filling.close()
        with found.session() as session:
            events: list[Event] = []
            report = session.create("nightly", format="binlog", on_event=events.append)
        yield Held(found, directory / "backups", report, notices_of(events))


# -- what is in it ---------------------------------------------------------------------------------------------------


def test_every_object_of_every_segment_is_in_the_backup_and_nothing_else(held: Held) -> None:
    store = held.place.double.state.store
    wanted = {
        key: source
        for collection in held.collections
        for segment in collection.persistent_segments()
        for key, source in places_of(segment).items()
    }
    found = objects(held.backups)
    assert found.keys() == wanted.keys()
    assert len(found) > 10
    for key, source in wanted.items():
        with store.read(source) as chunks:
            assert found[key] == b"".join(chunks), key


def test_the_metadata_says_of_each_segment_what_the_server_holds(held: Held) -> None:
    for collection in held.collections:
        record = held.record(collection)
        names = {partition.id: name for name, partition in collection.partitions.items()}
        assert [(part["partition_id"], part["partition_name"]) for part in record["partition_backups"]] == [
            *names.items()
        ]
        recorded = {
            segment["segment_id"]: segment
            for part in record["partition_backups"]
            for segment in part.get("segment_backups", [])
        }
        l0 = {segment["segment_id"]: segment for segment in record.get("l0_segments", [])}
        segments = {segment.id: segment for segment in collection.persistent_segments()}
        assert recorded.keys() | l0.keys() == segments.keys()
        assert l0.keys() == {n for n, item in segments.items() if item.partition_id == ALL_PARTITIONS}
        for number, segment in segments.items():
            check_segment(held, (recorded | l0)[number], segment)


def check_segment(held: Held, record: Any, segment: Segment) -> None:
    assert record.get("num_of_rows", 0) == segment.row_count
    assert record["partition_id"] == segment.partition_id
    assert record.get("is_l0", False) == segment.is_l0
    assert record.get("group_id", 0) == (0 if segment.partition_id == ALL_PARTITIONS else segment.id)
    if held.has("segment_storage_version"):
        assert record.get("storage_version", 0) == segment.storage_version
    assert record.get("v_channel", "") == (segment.channel if held.has("segment_detail") else "")
    inserts = {
        item.get("fieldID", 0): [(log["log_id"], log["log_path"], log["log_size"]) for log in item["binlogs"]]
        for item in record.get("binlogs", [])
    }
    assert inserts == {
        directory: [(log.log_id, log.key, log.size) for log in logs]
        for directory, logs in segment.insert_logs.items()
    }
    (deltas,) = record["deltalogs"]
    assert [log["log_id"] for log in deltas.get("binlogs", [])] == [log.log_id for log in segment.delta_logs]
    assert record["size"] == sum(
        log.size for logs in (*segment.insert_logs.values(), segment.delta_logs) for log in logs
    )


def test_deletes_of_2_4_and_later_are_segments_of_a_partition_or_of_all(held: Held) -> None:
    l0 = [segment for item in held.collections for segment in item.persistent_segments() if segment.is_l0]
    if held.has("l0_segments"):
        assert {segment.partition_id == ALL_PARTITIONS for segment in l0} >= {True}
    else:
        assert not l0


def test_the_line_is_one_over_all_from_2_6_11_on_and_one_for_each_before(held: Held) -> None:
    protection = held.read("mbk.json")["protection"].values()
    stamps = {
        item["backup_timestamp"] for item in map(held.record, held.collections) if "backup_timestamp" in item
    }
    together = held.has("flush_all_messages")
    assert {item["boundary"] for item in protection} == {"all" if together else "own"}
    if together:
        (line,) = stamps
        # The earliest channel's time, without the counter below the millisecond.
        (at,) = {item["at"] for item in protection}
        assert at <= moment(line)
        assert held.root["control_channel_name"].endswith("_vcchan")
        assert held.root["flush_all_msgs_base64"].keys() == set(held.root["physical_channel_names"])
        assert all(map(base64.b64decode, held.root["flush_all_msgs_base64"].values()))
    else:
        assert "flush_all_msgs_base64" not in held.root


def test_every_channel_has_a_checkpoint_where_the_server_tells_a_time(held: Held) -> None:
    for collection in held.collections:
        record = held.record(collection)
        checkpoints = record.get("channel_checkpoints", {})
        if not held.has("flush_ts"):
            assert not checkpoints
            continue
        assert sorted(checkpoints) == sorted(collection.channels)
        assert max(map(timestamp, checkpoints.values())) == record["backup_timestamp"]
        rows = [row for segment in collection.persistent_segments() for row in segment.rows]
        assert all(row.timestamp <= record["backup_timestamp"] for row in rows)


def test_the_pause_is_held_where_there_is_one_and_always_given_back(held: Held) -> None:
    assert held.place.double.services.gc.leases == {}
    protection = held.read("mbk.json")["protection"]
    assert {item.get("gc_paused", False) for item in protection.values()} == {held.has("gc_pause")}
    assert bool(NOT_PAUSED & {*codes(held.notices)}) != held.has("gc_pause")


def test_the_root_names_databases_version_and_position(held: Held) -> None:
    assert held.root["milvus_version"] == held.place.double.version.name
    names = {item["db_name"] for item in held.root["database_backups"]}
    assert names == set(held.place.double.state.databases)
    # A 2.5 that replicates to nobody says so: that is no position, and no trouble either.
    assert not held.root.get("rpc_channel_info", {}).get("position")
    assert "no-replication-position" not in codes(held.notices)


# -- trouble ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    """One collection of two segments in a server that a test may spoil."""

    place: Place
    backups: Path

    def create(self, **options: Any) -> RunReport:
        with self.session() as session:
            return session.create("nightly", format="binlog", **options)

    def noticed(self, **options: Any) -> tuple[Notice, ...]:
        """The notices of a `create`."""
        events: list[Event] = []
        self.create(on_event=events.append, **options)
        return notices_of(events)

    def session(self) -> Session:
        return self.place.session(pace=PACE)

    @property
    def docs(self) -> Collection:
        return self.place.double.state.collection("default", "docs")

    @property
    def segments(self) -> list[Segment]:
        return [segment for segment in self.docs.persistent_segments() if not segment.is_l0]

    @property
    def logs(self) -> set[str]:
        return {key for segment in self.docs.persistent_segments() for key in places_of(segment)}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[str], Small]]:
    from contextlib import ExitStack

    from pymilvus import DataType, MilvusClient

    with ExitStack() as open_places:

        def made(version: str, **options: Any) -> Small:
            found = open_places.enter_context(place(tmp_path, version, **options))
            found.double.state.sort_seconds = LATER
            client = MilvusClient(uri=found.double.uri)
            schema = MilvusClient.create_schema(auto_id=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
            client.create_collection("docs", schema=schema)
            for start in (0, 10):
                rows = [{"id": start + number, "vector": [0.5, 0.25]} for number in range(10)]
                client.insert("docs", rows)
                client.flush("docs")
            client.close()
            return Small(found, tmp_path / "backups")

        yield made


@pytest.mark.parametrize("version", ["v2.2.16", "v2.3.22", "v2.4.23", "v2.5.8", "v2.6.0", "v2.6.12"])
def test_files_of_failed_uploads_are_left_out(small: Callable[[str], Small], version: str) -> None:
    server = small(version)
    state = server.place.double.state
    orphans = leave_orphans(state, server.segments[0], fields=2 if version < "v2.6" else 1)
    notices = server.noticed()
    assert objects(server.backups).keys() == server.logs
    skipped = [notice for notice in notices if notice.code == "orphans-left-out"]
    assert bool(skipped) == (not state.version.has("segment_detail")), "nobody needs to guess from 2.5.8 on"
    if skipped:
        assert skipped[0].facts["key"] == min(orphans)


@pytest.mark.parametrize("version", ["v2.5.8", "v2.6.12"])
def test_where_rest_is_down_the_storage_is_listed(small: Callable[[str], Small], version: str) -> None:
    server = small(version)
    server.place.double.faults.rest_down()
    notices = server.noticed()
    assert objects(server.backups).keys() == server.logs
    assert codes(notices).count("segment-detail-failed") == 1
    (record,) = read(server.backups, "full_meta.json")["collection_backups"]
    segments = [item for part in record["partition_backups"] for item in part["segment_backups"]]
    assert not any("v_channel" in item for item in segments)


def test_orphans_that_nobody_can_tell_apart_are_an_error_with_the_files(
    small: Callable[[str], Small],
) -> None:
    server = small("v2.3.22")
    segment = server.segments[0]
    (orphan,) = leave_orphans(server.place.double.state, segment)
    segment.rows.pop()  # the server counts other rows than the binlogs hold
    with raised(MilvusError, segment=segment.id) as caught:
        server.create()
    assert orphan in str(caught.value.facts["keys"])


@pytest.mark.parametrize("version", ["v2.2.16", "v2.4.23", "v2.6.12"])
def test_a_server_that_puts_off_and_takes_its_time_is_waited_for(
    small: Callable[[str], Small], version: str
) -> None:
    server = small(version)
    faults = server.place.double.faults
    struck = [
        faults.rate_limit("FlushAll" if version == "v2.6.12" else "Flush", times=10),
        faults.segment_not_found(times=10),
        faults.slow_flush(polls=3),
    ]
    server.create()
    assert objects(server.backups).keys() == server.logs
    assert [rule.struck for rule in struck] == [10, 10, 3]


class Compacting:
    """A hook: as soon as the segments were listed, compaction replaces them and garbage collection is quick."""

    def __init__(self, server: Small) -> None:
        self.server, self.removed, self.flushed = server, -1, False

    def before(self, rpc: str, request: Any) -> None:
        pass

    def after(self, rpc: str, request: Any, response: Any) -> None:
        self.flushed = self.flushed or rpc in ("Flush", "FlushAll")
        if rpc == "GetPersistentSegmentInfo" and self.flushed and self.removed < 0:
            state = self.server.place.double.state
            with state.lock:
                compact(state, self.server.docs)
                self.removed = collect_garbage(state)


@pytest.mark.parametrize("version", ["v2.3.22", "v2.4.23", "v2.5.8", "v2.6.12"])
def test_segments_that_are_replaced_after_they_were_listed_are_saved_by_the_pause(
    small: Callable[[str], Small], version: str
) -> None:
    server = small(version)
    before = {key for segment in server.segments for key in places_of(segment)}
    hook = Compacting(server)
    server.place.double.hooks.append(hook)
    notices = server.noticed(strategy="serial_flush")
    paused = server.place.double.version.has("gc_pause")
    assert (hook.removed == 0) == paused
    assert objects(server.backups).keys() == (before if paused else server.logs)
    assert ("segments-replaced" in codes(notices)) != paused


@pytest.mark.parametrize("version", ["v2.4.23", "v2.6.12"])
def test_without_a_pause_segments_that_are_gone_are_listed_anew(
    small: Callable[[str], Small], version: str
) -> None:
    server = small(version)
    hook = Compacting(server)
    server.place.double.hooks.append(hook)
    notices = server.noticed(pause_gc=False)
    assert hook.removed > 0
    assert objects(server.backups).keys() == server.logs
    assert "segments-replaced" in codes(notices)


class Sorting:
    """A hook: as soon as the segments were listed, those that were flushed are replaced by sorted ones."""

    def __init__(self, server: Small) -> None:
        self.server, self.listed = server, False

    def before(self, rpc: str, request: Any) -> None:
        pass

    def after(self, rpc: str, request: Any, response: Any) -> None:
        if rpc == "GetPersistentSegmentInfo" and len(response.infos) and not self.listed:
            self.listed = True
            self.server.place.double.sort()


@pytest.mark.parametrize("version", ["v2.5.8", "2.5.27", "v2.6.12", "v3.0.1"])
def test_segments_that_are_sorted_while_they_are_backed_up_are_saved(
    small: Callable[[str], Small], version: str
) -> None:
    server = small(version)
    before = {key for segment in server.segments for key in places_of(segment)}
    server.place.double.hooks.append(Sorting(server))
    server.create(strategy="serial_flush")
    assert all(segment.is_sorted for segment in server.segments)
    # The old ones, which are as good, or the sorted ones: never a mixture.
    assert objects(server.backups).keys() in (before, server.logs)
    with server.session() as session:
        assert session.verify("nightly").is_whole


@pytest.mark.parametrize("version", ["2.5.27", "v2.6.0"])
def test_a_server_that_limits_flushes_is_waited_for(small: Callable[[str], Small], version: str) -> None:
    server = small(version)
    state = server.place.double.state
    state.flush_rate = 1.0
    with state.lock:
        state.let_flush_in([server.docs])
    with server.place.session() as session:
        session.create("nightly", format="binlog", strategy="serial_flush")
    assert objects(server.backups).keys() == server.logs


def test_the_leases_of_a_run_that_fails_are_given_back(small: Callable[[str], Small]) -> None:
    server = small("v2.6.12")
    server.place.double.faults.refuse("GetPersistentSegmentInfo", denied(), times=None)
    with pytest.raises(MbkError):
        server.create()
    assert server.place.double.services.gc.leases == {}


def denied() -> Any:
    from tests.milvus_double.refusal import Refused

    return Refused("something is broken", code=5)


def test_a_pause_that_answers_404_is_told_and_nothing_more(small: Callable[[str], Small]) -> None:
    server = small("v2.6.12")
    server.place.double.faults.http("/management/*", status=404, times=None)
    notices = server.noticed()
    assert NOT_PAUSED & {*codes(notices)}
    with server.session() as session:
        (shown,) = session.get("nightly").document["collection_backups"]
    assert shown["protection"]["gc_paused"] is False
    assert shown["protection"]["boundary"] == "all"


def test_the_key_of_an_encryption_zone_is_in_the_backup_and_in_no_output(
    small: Callable[[str], Small],
) -> None:
    server = small("v2.6.12")
    database = server.place.double.state.databases["default"]
    database.properties.update({"cipher.ezID": "7", "cipher.key": "root"})
    report = server.create()
    key = exported_key(database)
    assert read(server.backups, "full_meta.json")["database_backups"][0]["ezk"] == key
    with server.session() as session:
        assert key not in json.dumps(session.get("nightly", detail=True).document)
    assert key not in repr(report)


def test_segments_of_manifests_are_refused_with_the_way_out(small: Callable[[str], Small]) -> None:
    server = small("v3.0.1", write_version=3)
    with raised(MilvusError, "segment-version-unsupported") as caught:
        server.create()
    assert "--format snapshot" in (caught.value.hint or "")
    assert not (server.backups / "nightly").exists()


def test_a_collection_that_cannot_be_listed_does_not_stop_the_others(small: Callable[[str], Small]) -> None:
    from pymilvus import MilvusClient

    server = small("v2.5.8")
    client = MilvusClient(uri=server.place.double.uri)
    client.create_collection("odd", dimension=2)
    client.close()
    server.place.double.faults.refuse(
        "GetPersistentSegmentInfo", denied(), times=None, when=lambda request: request.collectionName == "odd"
    )
    with raised(PartialFailure, "collections-not-backed-up", failed=1, total=2):
        server.create()
    assert objects(server.backups).keys() == server.logs
