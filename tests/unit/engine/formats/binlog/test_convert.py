"""Conversion for older servers: what the double's codec reads of it is what it wrote into the backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import FieldSchema

from mbk.engine.formats.binlog.contents import Contents
from mbk.engine.formats.binlog.conversion import Conversion, ConversionJob
from mbk.engine.formats.binlog.converter import CHUNK, SegmentConverter
from mbk.engine.formats.binlog.places import Place
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import InvalidBackup, UsageError
from mbk.model.events import Event, ObjectCopied, WorkPlanned
from mbk.model.records import CollectionSchema, SegmentHead
from mbk.model.records import FieldSchema as Field
from mbk.model.reports import TransferStats
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import QUICK
from tests.milvus_double.codec import (
    TIMESTAMP,
    LogIds,
    decode_columns,
    decode_deletes,
    encode_columns,
    encode_packed_deletes,
    system_fields,
)
from tests.milvus_double.codec.deltalog import encode_deletes
from tests.milvus_double.state import Delete
from tests.raising import raised
from tests.unit.binlog.objects import COLUMNS, FIELDS, T0
from tests.unit.engine.forged import as_they_are, objects

COLL, PART, SEG = 460001, 460002, 460101
INSERT = f"backup/b/binlogs/insert_log/{COLL}/{PART}/{SEG}/{SEG}/"
DELTA = f"backup/b/binlogs/delta_log/{COLL}/{PART}/{SEG}/{SEG}/"
DOWN = Conversion.UNPACK | Conversion.FOLD_L0 | Conversion.PLAIN_DELTAS
KEYS = COLUMNS[100]


class Site:
    """A backup storage and that of a Milvus, and a converter between them."""

    def __init__(self, *, chunk: int = CHUNK) -> None:
        service = MemoryService("backups", "milvus")
        self.backup = MemoryStorage(service, "backups", root="backup/")
        self.milvus = MemoryStorage(service, "milvus", root="files/")
        self.events: list[Event] = []
        self.run = Run(self.events.append, policy=QUICK)
        self.chunk = chunk
        self.stats = TransferStats()

    def segment(self, version: int, *, fields: Sequence[FieldSchema] = FIELDS, log: int = 460901) -> None:
        for number, data in encode_columns(version, fields, COLUMNS, LogIds(COLL, PART, SEG)).items():
            self.backup.write(f"{INSERT}{number}/{log}", [data])

    def deletes(self, prefix: str, data: bytes, log: int = 460950) -> Place:
        self.backup.write(f"{prefix}{log}", [data])
        return Place(delta=prefix)

    def convert(
        self,
        conversion: Conversion = DOWN,
        *,
        version: int = 2,
        folded: Sequence[Place] = (),
        rows: int = 3,
        schema: CollectionSchema | None = None,
        end_ts: int = 0,
        place: Place | None = None,
    ) -> dict[str, bytes]:
        """Below ``stage/``, what was written; the converter must have named exactly these keys."""
        with (
            as_they_are(self.backup, self.run) as contents,
            Transfer(
                source=self.backup, destination=self.milvus, run=self.run, limits=TransferLimits()
            ) as transfer,
        ):
            job = self._job(contents, conversion, version, folded, rows, schema, end_ts, place)
            converter = SegmentConverter(
                backup=self.backup, storage=self.milvus, run=self.run, transfer=transfer, chunk=self.chunk
            )
            named = set(converter.convert(job))
            self.stats = transfer.stats
        written = objects(self.milvus, "stage/")
        assert {key.removeprefix("stage/") for key in named} == set(written)
        return written

    def _job(
        self,
        contents: Contents,
        conversion: Conversion,
        version: int,
        folded: Sequence[Place],
        rows: int,
        schema: CollectionSchema | None,
        end_ts: int,
        place: Place | None,
    ) -> ConversionJob:
        has_delta = bool(objects(self.backup, DELTA))
        return ConversionJob(
            conversion=conversion,
            schema=schema or schema_of(FIELDS),
            segments=(
                SegmentHead(
                    segment_id=SEG,
                    collection_id=COLL,
                    partition_id=PART,
                    num_of_rows=rows,
                    storage_version=version,
                ),
            ),
            places=(place or Place(insert=INSERT, delta=DELTA if has_delta else ""),),
            folded=tuple(folded),
            insert="stage/insert_log/",
            delta="stage/delta_log/",
            contents=contents,
            end_ts=end_ts,
            label="db.coll",
        )


def schema_of(fields: Sequence[FieldSchema], *, dynamic: bool = False) -> CollectionSchema:
    made = [
        Field(
            field_id=item.fieldID,
            name=item.name,
            data_type=item.data_type,
            nullable=item.nullable,
            is_primary_key=item.is_primary_key,
        )
        for item in fields
    ]
    return CollectionSchema(fields=made, enable_dynamic_field=dynamic)


def columns_in(written: dict[str, bytes], fields: Sequence[FieldSchema] = FIELDS) -> dict[int, list[Any]]:
    """Field id -> values of all files of the field, in the order of their names, as a server reads them."""
    found: dict[int, list[Any]] = {}
    for key in sorted(written):
        kind, segment, *field = key.split("/")
        if kind == "insert_log":
            assert segment == str(SEG)
            (column,) = decode_columns(1, fields, {int(field[0]): written[key]}).values()
            found.setdefault(int(field[0]), []).extend(column)
    return found


def deletes_in(written: dict[str, bytes]) -> list[Delete]:
    return [
        item
        for key in sorted(written)
        if key.startswith(f"delta_log/{SEG}/")
        for item in decode_deletes(written[key])
    ]


@pytest.fixture
def site() -> Site:
    return Site()


def test_column_groups_become_one_binlog_a_field_with_the_same_values(site: Site) -> None:
    site.segment(2)
    written = site.convert()
    assert columns_in(written) == COLUMNS
    assert len(written) == len(COLUMNS)


def test_large_segments_are_cut_alike_in_all_fields() -> None:
    site = Site(chunk=1)
    for log in range(460901, 460904):
        site.segment(2, log=log)
    written = site.convert(rows=9)
    assert columns_in(written) == {number: values * 3 for number, values in COLUMNS.items()}
    names: dict[str, list[str]] = {}
    for key in sorted(written):
        names.setdefault(key.split("/")[2], []).append(key.split("/")[3])
    assert len({tuple(files) for files in names.values()}) == 1
    assert len(names["100"]) == 3


def test_what_needs_no_change_is_copied_as_it_is(site: Site) -> None:
    site.segment(1)
    site.deletes(DELTA, encode_deletes([Delete(0, T0 + 9)], LogIds(COLL, PART, SEG)))
    written = site.convert(version=1)
    assert written == {
        **{f"insert_log/{SEG}/{key}": data for key, data in objects(site.backup, INSERT).items()},
        **{f"delta_log/{SEG}/{key}": data for key, data in objects(site.backup, DELTA).items()},
    }


def test_what_is_written_and_what_is_copied_are_in_the_runs_figures(site: Site) -> None:
    """A packed segment is written anew, its delta log in the classic form is copied."""
    site.segment(2)
    site.deletes(DELTA, encode_deletes([Delete(0, T0 + 9)], LogIds(COLL, PART, SEG)))
    written = site.convert()
    stats = site.stats
    inserts = {key: data for key, data in written.items() if key.startswith("insert_log/")}
    deltas = {key: data for key, data in written.items() if key.startswith("delta_log/")}
    assert dict(stats.objects) == {"convert": len(inserts), "server": len(deltas)} != {}
    assert stats.bytes["convert"] == sum(map(len, inserts.values()))
    assert stats.bytes["server"] == sum(map(len, deltas.values()))
    assert sum(event.size for event in site.events if isinstance(event, WorkPlanned)) == sum(
        event.size for event in site.events if isinstance(event, ObjectCopied)
    )


@pytest.mark.parametrize("version", [1, 2])
def test_l0_deletes_of_the_segments_keys_are_put_beside_it_each_once(site: Site, version: int) -> None:
    site.segment(version)
    site.deletes(DELTA, encode_packed_deletes([Delete(KEYS[0], T0 + 50), Delete(12345, T0 + 50)]))
    ids = LogIds(COLL, -1, 7)
    local = site.deletes(
        "backup/b/l0/local/", encode_deletes([Delete(KEYS[0], T0 + 60), Delete(999, T0)], ids)
    )
    everywhere = site.deletes(
        "backup/b/l0/all/", encode_deletes([Delete(KEYS[2], T0 + 55)], ids, multi_field=True)
    )
    written = site.convert(version=version, folded=[local, everywhere])
    assert deletes_in(written) == [Delete(KEYS[2], T0 + 55), Delete(KEYS[0], T0 + 60)]
    assert columns_in(written) == COLUMNS
    (delta,) = [data for key, data in written.items() if key.startswith("delta_log")]
    assert b"MULTI_FIELD" not in delta
    assert delta[:4] == (0xFFFABC).to_bytes(4, "little")


@pytest.mark.parametrize("version", [1, 2])
def test_a_delete_that_is_older_than_the_row_is_not_put_beside_it(site: Site, version: int) -> None:
    """Milvus 2.2 would delete the row: it does not look at the times."""
    site.segment(version)
    late = Delete(KEYS[1], COLUMNS[TIMESTAMP][1] + 1)
    older = [Delete(KEYS[0], COLUMNS[TIMESTAMP][0]), Delete(KEYS[2], COLUMNS[TIMESTAMP][2] - 1), late]
    l0 = site.deletes("backup/b/l0/1/", encode_packed_deletes(older))
    assert deletes_in(site.convert(version=version, folded=[l0])) == [late]


@pytest.mark.parametrize("version", [1, 2])
def test_of_a_key_that_was_deleted_and_inserted_again_only_the_new_row_is_left(
    site: Site, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COLUMNS, 100, [7, 8, 7])
    site.segment(version)
    deletes = encode_packed_deletes([Delete(7, COLUMNS[TIMESTAMP][2]), Delete(9, T0 + 9)])
    written = site.convert(
        DOWN | Conversion.APPLY_DELETES, version=version, folded=[site.deletes("backup/b/l0/1/", deletes)]
    )
    assert columns_in(written) == {number: values[1:] for number, values in COLUMNS.items()}
    assert not any(key.startswith("delta_log") for key in written)


def test_a_row_inserted_again_within_its_segment_outlives_the_delete_where_times_do_not_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment's own deletes: no L0 segment is near."""
    monkeypatch.setitem(COLUMNS, 100, [7, 8, 7])
    site.segment(1)
    ids = LogIds(COLL, PART, SEG)
    site.deletes(
        DELTA, encode_deletes([Delete(7, COLUMNS[TIMESTAMP][2]), Delete(8, COLUMNS[TIMESTAMP][1] + 9)], ids)
    )
    written = site.convert(Conversion.APPLY_DELETES, version=1)
    assert columns_in(written) == {number: values[2:] for number, values in COLUMNS.items()}
    assert not deletes_in(written)


def test_rows_stay_as_they_are_where_every_delete_takes_all_rows_of_its_key(site: Site) -> None:
    site.segment(1)
    ids = LogIds(COLL, PART, SEG)
    hit = Delete(KEYS[1], T0 + 50)
    site.deletes(DELTA, encode_deletes([Delete(12345, T0), Delete(KEYS[0], 1), hit], ids))
    written = site.convert(Conversion.APPLY_DELETES, version=1)
    inserts = {key: data for key, data in written.items() if key.startswith("insert_log/")}
    assert inserts == {f"insert_log/{SEG}/{key}": data for key, data in objects(site.backup, INSERT).items()}
    assert deletes_in(written) == [hit]


def test_a_segment_that_no_l0_delete_concerns_gets_no_delta_log(site: Site) -> None:
    site.segment(2)
    strangers = site.deletes("backup/b/l0/1/", encode_packed_deletes([Delete(999, T0)]))
    assert not deletes_in(site.convert(folded=[strangers]))


@pytest.mark.parametrize("form", ["two columns", "bare"])
def test_deltas_of_a_form_that_old_servers_do_not_know_are_rewritten(site: Site, form: str) -> None:
    site.segment(1)
    deletes = [Delete(KEYS[0], T0 + 1), Delete(KEYS[1], T0 + 2)]
    ids = LogIds(COLL, PART, SEG)
    site.deletes(
        DELTA,
        encode_packed_deletes(deletes) if form == "bare" else encode_deletes(deletes, ids, multi_field=True),
    )
    written = site.convert(Conversion.PLAIN_DELTAS, version=1)
    assert deletes_in(written) == deletes
    assert all(b'"original_size"' in data and b"MULTI_FIELD" not in data for data in written.values())


def test_deletes_after_the_boundary_are_cut_out_of_an_l0_segment(site: Site) -> None:
    place = site.deletes(DELTA, encode_packed_deletes([Delete(1, T0), Delete(2, T0 + 1), Delete(3, T0 + 2)]))
    written = site.convert(Conversion.CUT_L0, end_ts=T0 + 1, place=place, version=2)
    assert deletes_in(written) == [Delete(1, T0), Delete(2, T0 + 1)]
    assert site.convert(Conversion.CUT_L0, end_ts=T0, place=place, version=2).keys() == written.keys()


def test_deletes_after_the_boundary_are_not_folded(site: Site) -> None:
    site.segment(2)
    late = site.deletes(
        "backup/b/l0/1/", encode_packed_deletes([Delete(KEYS[0], T0 + 5), Delete(KEYS[1], T0 + 4)])
    )
    assert deletes_in(site.convert(folded=[late], end_ts=T0 + 4)) == [Delete(KEYS[1], T0 + 4)]


def with_dynamic(*, nullable: bool = False, number: int = 116) -> list[FieldSchema]:
    return [
        *FIELDS,
        FieldSchema(fieldID=number, name="$meta", data_type=23, is_dynamic=True, nullable=nullable),
    ]


@pytest.mark.parametrize("described", [True, False])
def test_dynamic_keys_are_written_whether_their_field_is_described_or_not(
    site: Site, described: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = with_dynamic(nullable=True)
    monkeypatch.setitem(COLUMNS, 116, [b'{"a":1}', None, b"{}"])
    site.segment(2, fields=fields)
    schema = schema_of(fields[:-1], dynamic=True)
    if described:
        schema.fields.append(Field(field_id=116, name="$meta", data_type=23, is_dynamic=True))
    written = site.convert(schema=schema)
    # Servers before 2.5 know no nulls.
    assert columns_in(written, with_dynamic())[116] == [b'{"a":1}', b"{}", b"{}"]


def test_columns_of_dropped_fields_are_left_out(site: Site) -> None:
    site.segment(2)
    left = [item for item in FIELDS if item.fieldID not in (104, 112)]
    written = site.convert(schema=schema_of(left))
    assert set(columns_in(written)) == {item.fieldID for item in [*system_fields(), *left]}


def test_a_field_added_later_may_be_missing_where_it_allows_nulls(site: Site) -> None:
    site.segment(2)
    late = Field(field_id=120, name="late", data_type=5, nullable=True)
    schema = schema_of(FIELDS)
    schema.fields.append(late)
    assert columns_in(site.convert(schema=schema)) == COLUMNS
    late.nullable = False
    with raised(InvalidBackup, "field-data-missing", field=120, segment=460101):
        site.convert(schema=schema)


def test_fewer_rows_than_the_backup_says_are_told(site: Site) -> None:
    site.segment(2)
    with raised(InvalidBackup, "segment-rows-differ", segment=460101, present=3, expected=4):
        site.convert(rows=4)


def test_segments_of_storage_version_3_are_refused(site: Site) -> None:
    with raised(UsageError, "segment-unreadable", segment=460101, version=3):
        site.convert(version=3)


def test_the_same_job_writes_the_same_keys_and_bytes_again(site: Site) -> None:
    site.segment(2)
    l0 = site.deletes("backup/b/l0/1/", encode_packed_deletes([Delete(KEYS[0], T0 + 5)]))
    assert site.convert(folded=[l0]) == site.convert(folded=[l0])
