"""What is written is what docs/reference/backup-format.md says, byte for byte where it matters to the classic tool."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from mbk.engine.repository import codec as metafiles
from mbk.engine.repository.codec import head
from mbk.engine.repository.spool import SegmentSpool
from mbk.model import records as meta
from mbk.model.layout import is_record
from mbk.model.manifest import Manifest
from mbk.model.records import (
    BackupExtras,
    Binlog,
    CollectionHead,
    FieldBinlog,
    FieldSchema,
    PartitionHead,
    Segment,
)
from tests.fakes.milvus import V2_3, V2_4
from tests.fakes.world import World
from tests.fixtures.backups import worked_example as example


def filled(**world: Any) -> World:
    made = World(**world)
    made.milvus.add("docs", partitions=("_default", "cold"))
    made.milvus.insert("docs", range(8))
    made.milvus.delete("docs", [3])
    return made


def meta_files(world: World) -> dict[str, Any]:
    return {
        key.rsplit("/", 1)[1]: json.loads(data)
        for key, data in world.backed_up.items()
        if "/meta/" in key and key.endswith(".json")
    }


def joined(chunks: Any) -> bytes:
    return b"".join(chunks)


def test_metadata_follows_the_data_and_full_meta_is_last() -> None:
    world = filled()
    written: list[str] = []

    def watch(operation: str, key: str) -> None:
        if operation in ("write", "copy") and key.startswith("backup/nightly/"):
            written.append(key.removeprefix("backup/nightly/"))

    world.backup.fault = watch
    world.create()
    assert written[0] == "meta/mbk.json"
    data = [index for index, key in enumerate(written) if key.startswith("binlogs/")]
    manifest, record, *others = written[max(data) + 1 :]
    assert manifest == "meta/mbk.json"
    assert is_record(record.removeprefix("meta/"))
    assert others == [
        "meta/backup_meta.json",
        "meta/collection_meta.json",
        "meta/partition_meta.json",
        "meta/segment_meta.json",
        "meta/full_meta.json",
    ]


def test_all_objects_are_verified_before_any_metadata_file_is_written() -> None:
    world = filled()
    seen: list[str] = []
    world.backup.fault = lambda operation, key: seen.append(f"{operation} {key}")
    world.create()
    verified = max(
        index for index, what in enumerate(seen) if what.startswith("list") and "/binlogs/" in what
    )
    assert verified < seen.index("write backup/nightly/meta/backup_meta.json")


def test_objects_lie_where_the_format_wants_them_and_nothing_else_does() -> None:
    world = filled(features=V2_4)
    world.create()
    collection = world.milvus.inventory.describe("default", "docs")
    data, l0 = world.milvus.segments.persistent("default", "docs")
    partition = collection.partitions[0].id
    binlogs = {key for key in world.backed_up if "/binlogs/" in key}
    inserts = f"backup/nightly/binlogs/insert_log/{collection.id}/{partition}/{data.id}/{data.id}/"
    deltas = f"backup/nightly/binlogs/delta_log/{collection.id}/-1/{l0.id}/"
    assert {key for key in binlogs if key.startswith(inserts)} | {
        key for key in binlogs if key.startswith(deltas)
    } == binlogs
    assert {key.removeprefix(inserts).split("/")[0] for key in binlogs if key.startswith(inserts)} == {
        "0",
        "1",
        "100",
        "101",
    }
    records = {key for key in world.backed_up if is_record(key.removeprefix("backup/nightly/meta/"))}
    assert len(records) == 1
    assert set(world.backed_up) - binlogs - records == {
        f"backup/nightly/meta/{file}_meta.json"
        for file in ("backup", "collection", "partition", "segment", "full")
    } | {"backup/nightly/meta/mbk.json"}


def test_deltas_of_a_data_segment_carry_its_group() -> None:
    world = filled(features=V2_3)
    world.create()
    collection = world.milvus.inventory.describe("default", "docs")
    (data,) = world.milvus.segments.persistent("default", "docs")
    place = f"backup/nightly/binlogs/delta_log/{collection.id}/{data.partition_id}/{data.id}/{data.id}/"
    assert [key.startswith(place) for key in world.backed_up if "/delta_log/" in key] == [True]


def test_segments_of_all_partitions_stand_in_l0_segments_of_full_meta_only() -> None:
    world = filled(features=V2_4)
    world.create()
    files = meta_files(world)
    (full,) = files["full_meta.json"]["collection_backups"]
    (l0,) = full["l0_segments"]
    assert l0["partition_id"] == -1
    assert l0["is_l0"] is True
    assert "group_id" not in l0
    assert "binlogs" not in l0
    assert "l0_segments" not in files["collection_meta.json"]["infos"][0]
    assert [segment["segment_id"] for segment in files["segment_meta.json"]["infos"]] == [
        segment["segment_id"]
        for part in full["partition_backups"]
        for segment in part.get("segment_backups", [])
    ]
    assert l0["segment_id"] not in [segment["segment_id"] for segment in files["segment_meta.json"]["infos"]]


def test_every_segment_has_exactly_one_deltalog_entry_of_field_0() -> None:
    world = filled()
    world.milvus.insert("docs", [50])
    world.create()
    segments = meta_files(world)["segment_meta.json"]["infos"]
    without, with_deletes = sorted(segments, key=lambda segment: segment["num_of_rows"])
    assert without["deltalogs"] == [{}]
    (entry,) = with_deletes["deltalogs"]
    assert list(entry) == ["binlogs"]
    assert all(isinstance(log["log_id"], int) for log in entry["binlogs"])


def test_a_segment_says_what_a_restore_needs() -> None:
    world = filled()
    world.create()
    (found,) = world.milvus.segments.persistent("default", "docs")
    (segment,) = meta_files(world)["segment_meta.json"]["infos"]
    listed = {key: len(data) for key, data in world.objects("milvus", "files/").items()}
    logs = [log for entry in (*segment["binlogs"], *segment["deltalogs"]) for log in entry["binlogs"]]
    assert {log["log_path"]: log["log_size"] for log in logs} == listed
    assert all(log["log_path"].endswith(f"/{log['log_id']}") for log in logs)
    assert segment["group_id"] == segment["segment_id"] == found.id
    assert segment["size"] == sum(listed.values())
    assert segment["num_of_rows"] == 8
    assert [entry.get("fieldID", 0) for entry in segment["binlogs"]] == [0, 1, 100, 101]
    assert "statslogs" not in segment


def test_every_partition_is_there_also_the_empty_one_in_the_servers_order() -> None:
    world = filled()
    world.create()
    partitions = meta_files(world)["partition_meta.json"]["infos"]
    assert [part["partition_name"] for part in partitions] == ["_default", "cold"]
    assert "segment_backups" not in partitions[0]
    assert partitions[1]["size"] == 0
    assert partitions[0]["size"] == meta_files(world)["full_meta.json"]["size"]


def test_the_flush_point_is_kept_to_the_last_bit() -> None:
    world = filled()
    world.create()
    (collection,) = world.catalog().read("nightly").collection_backups
    from mbk.engine.repository.timeline import timestamp

    ((channel, position),) = collection.channel_checkpoints.items()
    assert channel == collection.virtual_channel_names[0]
    assert timestamp(position) == collection.backup_timestamp > 2**53
    assert collection.backup_physical_timestamp == 1767225601


def test_backup_meta_holds_only_what_a_listing_needs() -> None:
    world = filled()
    world.create()
    files = meta_files(world)
    assert set(files["backup_meta.json"]) == {"id", "state_code", "name", "size", "milvus_version"}
    assert files["backup_meta.json"]["state_code"] == 0
    full = files["full_meta.json"]
    assert {key: full[key] for key in files["backup_meta.json"]} == files["backup_meta.json"]
    assert full["database_backups"] == [{"db_name": "default", "db_id": 1}]
    assert full["collection_backups"][0]["id"] == full["id"]


def test_no_file_has_a_temporary_neighbour_that_prefix_listings_would_meet() -> None:
    world = filled()
    world.create()
    names = [key for key in world.backed_up if "/meta/" in key]
    assert not [a for a in names for b in names if a != b and a.startswith(b)]


ALWAYS = {
    meta.BackupHead: {"state_code": 0, "size": 0},
    meta.CollectionHead: {"size": 0, "has_index": False},
    meta.PartitionHead: {"size": 0},
    meta.SegmentHead: {"size": 0},
    meta.Binlog: {"log_size": 0},
}


@pytest.mark.parametrize(
    "record",
    [
        value
        for value in vars(meta).values()
        if isinstance(value, type) and issubclass(value, meta.Record) and value is not meta.Record
    ],
    ids=lambda record: record.__name__,
)
def test_zero_values_are_left_out_except_those_that_the_format_always_carries(
    record: type[meta.Record],
) -> None:
    expected = next((value for base, value in ALWAYS.items() if issubclass(record, base)), {})
    assert json.loads(msgspec.json.encode(record())) == expected


def test_no_record_knows_a_default_value_oneof() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(FieldSchema)}
    assert "default_value_base64" in names
    assert "default_value" not in names


def test_integers_beyond_a_double_survive_both_ways() -> None:
    for number in (2**53 + 1, 463267588014080003, 2**63 - 1):
        record = CollectionHead(collection_id=number, backup_timestamp=number)
        encoded = msgspec.json.encode(record)
        assert b'"backup_timestamp":%d' % number in encoded
        assert metafiles.decode(encoded, CollectionHead, where="x").backup_timestamp == number
    unsigned = metafiles.decode(b'{"backup_timestamp":18446744073709551615}', CollectionHead, where="x")
    assert unsigned.backup_timestamp == 2**64 - 1


def test_enums_are_numbers() -> None:
    world = filled()
    world.create()
    (collection,) = meta_files(world)["full_meta.json"]["collection_backups"]
    assert collection["consistency_level"] == 2
    assert [field["data_type"] for field in collection["schema"]["fields"]] == [5, 21]
    assert collection["load_state"] == "NotLoad"


def spool_of(*segments: dict[str, Any]) -> SegmentSpool:
    spool = SegmentSpool()
    for segment in segments:
        spool.add(msgspec.convert(segment, Segment), ())
    return spool


def test_the_worked_example_is_written_as_it_stands_in_the_specification() -> None:
    parts = [
        (
            msgspec.convert(example.COLLECTION, CollectionHead),
            [msgspec.convert(part, PartitionHead) for part in example.PARTITIONS],
        )
    ]
    root = {key: value for key, value in example.FULL.items() if key != "collection_backups"}
    backup = msgspec.convert(root, BackupExtras)
    with spool_of(example.DATA_SEGMENT, example.PARTITION_L0, example.ALL_L0) as spool:
        assert json.loads(joined(metafiles.encode_full(backup, parts, spool))) == example.FULL
        assert (
            json.loads(joined(metafiles.encode_segments(parts, spool))) == example.LEVELS["segment_meta.json"]
        )
    assert json.loads(joined(metafiles.encode_backup_head(backup))) == example.LEVELS["backup_meta.json"]
    assert json.loads(joined(metafiles.encode_collections(parts))) == example.LEVELS["collection_meta.json"]
    assert json.loads(joined(metafiles.encode_partitions(parts))) == example.LEVELS["partition_meta.json"]


def test_the_worked_example_survives_decoding_and_encoding_again() -> None:
    backup = metafiles.decode_full(json.dumps(example.FULL).encode(), where="full_meta.json")
    (collection,) = backup.collection_backups
    segments = (example.DATA_SEGMENT, example.PARTITION_L0, example.ALL_L0)
    parts = [
        (
            head(collection, CollectionHead),
            [head(part, PartitionHead) for part in collection.partition_backups],
        )
    ]
    with spool_of(*segments) as spool:
        again = joined(metafiles.encode_full(head(backup, BackupExtras), parts, spool))
    assert json.loads(again) == example.FULL


def test_an_empty_backup_is_valid_json_in_every_file() -> None:
    world = World()
    world.create()
    files = meta_files(world)
    assert (
        files["segment_meta.json"]
        == files["collection_meta.json"]
        == files["partition_meta.json"]
        == {"infos": []}
    )
    assert "collection_backups" not in files["full_meta.json"]
    assert world.catalog().read("nightly").collection_backups == []


def test_text_of_any_language_survives() -> None:
    record = CollectionHead(collection_name='名 <&> "quote" \u2028 \\')
    assert metafiles.decode(msgspec.json.encode(record), CollectionHead, where="x") == record


def test_what_is_ours_lies_in_a_file_of_its_own() -> None:
    world = filled()
    world.create()
    own = metafiles.decode(world.backed_up["backup/nightly/meta/mbk.json"], Manifest, where="x")
    assert own.name == "nightly"
    assert own.tool == "mbk test"
    assert list(own.rows.values()) == [7]
    assert not own.failed


def test_deltalogs_of_a_record_are_one_entry() -> None:
    record = Segment(
        deltalogs=[FieldBinlog(binlogs=[])], binlogs=[FieldBinlog(field_id=1, binlogs=[Binlog()])]
    )
    assert json.loads(msgspec.json.encode(record)) == {
        "size": 0, "deltalogs": [{}], "binlogs": [{"fieldID": 1, "binlogs": [{"log_size": 0}]}],
    }  # fmt: skip
