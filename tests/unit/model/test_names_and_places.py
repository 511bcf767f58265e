from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbk.errors import InvalidName, UsageError
from mbk.model.layout import (
    BackupLayout,
    DeltaKey,
    InsertKey,
    parse_delta,
    parse_insert,
    segment_prefixes,
)
from mbk.model.options import RestoreOptions
from mbk.model.reports import check_name, default_name
from tests.raising import raised

IDS = st.integers(0, 2**63 - 1)
ROOTS = st.sampled_from(["", "files/", "a/b/", "/x/"])


@pytest.mark.parametrize("name", ["a", "_", "A1_", "backup_2026", "a" * 128])
def test_names_that_are_allowed(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "a.b", "..", "a/b", "é", "a\n", "a" * 129])
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(name)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_the_default_name_is_the_classic_tools() -> None:
    at = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    assert default_name(at) == "backup_2026_02_03_04_05_06_789000"
    assert re.fullmatch(r"backup(_\d+){7}", check_name(default_name()))


@settings(deadline=None)
@given(ROOTS, IDS, IDS, IDS, IDS, IDS)
def test_milvus_keys_are_parsed_as_they_are_built(
    root: str, c: int, p: int, s: int, f: int, log: int
) -> None:
    insert, delta = segment_prefixes(root, c, p, s)
    assert parse_insert(root, f"{insert}{f}/{log}") == InsertKey(c, p, s, f, log)
    assert parse_delta(root, f"{delta}{log}") == DeltaKey(c, p, s, log)
    assert parse_insert(root, f"{insert}{log}") is None
    assert parse_insert(root, f"{insert}{f}/{log}/1") is None
    assert parse_delta(root, f"{delta}{f}/{log}") is None


def test_the_partition_of_all_partitions_is_minus_one() -> None:
    _, delta = segment_prefixes("files/", 1, -1, 2)
    assert parse_delta("files/", f"{delta}3") == DeltaKey(1, -1, 2, 3)


@pytest.mark.parametrize(
    "key",
    [
        "files/insert_log/1/2/3/4/x",
        "files/insert_log/1/2/3/-4/5",
        "other/insert_log/1/2/3/4/5",
        "files/_metadata/1",
    ],
)
def test_keys_of_another_shape_are_told(key: str) -> None:
    assert parse_insert("files/", key) is None


def test_keys_of_a_backup_are_those_of_the_worked_example() -> None:
    place = BackupLayout("backup/", "nightly_01")
    assert place.insert(460001, 460002, 460101, 0, 460901) == (
        "backup/nightly_01/binlogs/insert_log/460001/460002/460101/460101/0/460901"
    )
    assert place.delta(460001, 460002, 460101, 460910) == (
        "backup/nightly_01/binlogs/delta_log/460001/460002/460101/460101/460910"
    )
    assert (
        place.delta(460001, -1, 460103, 460912)
        == "backup/nightly_01/binlogs/delta_log/460001/-1/460103/460912"
    )
    assert place.meta("full_meta.json") == "backup/nightly_01/meta/full_meta.json"


def test_drop_and_skip_exclude_each_other() -> None:
    with raised(
        UsageError, "options-conflict", option="drop_exist_collection", other="skip_create_collection"
    ):
        RestoreOptions(drop_existing=True, skip_create=True)
