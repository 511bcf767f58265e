from __future__ import annotations

import pytest

from mbk.milvus.features import HEAD, OLDEST, features_of, parse_version, server_version
from mbk.ports.milvus.values import Feature


@pytest.mark.parametrize(
    ("texts", "version"),
    [
        (["v2.3.5-lite"], (2, 3, 5)),
        (["v2.6.11"], (2, 6, 11)),
        (["2.3.22.6"], (2, 3, 22)),
        (["2.5.0-rc.1+build.7"], (2, 5, 0)),
        (["2.6-20260404-abc"], (2, 6, HEAD)),
        (["master-20260404-abc", "2.5.4"], (2, 5, 4)),
        (["2.6-20260404-abc", "v2.5.4"], (2, 5, 4)),
        (["Zilliz Cloud Vector Database (Compatible with Milvus 2.6)"], (2, 6, HEAD)),
        (["Zilliz Cloud (Compatible with Milvus 2.5.12)"], (2, 5, 12)),
    ],
)
def test_the_version_is_read_out_of_every_known_form(texts: list[str], version: tuple[int, int, int]) -> None:
    assert parse_version(texts) == version


@pytest.mark.parametrize("texts", [[], [""], ["master-20260404-abc"], ["abc-2.6.1"], ["unknown"]])
def test_other_texts_tell_no_version(texts: list[str]) -> None:
    assert parse_version(texts) is None


@pytest.mark.parametrize(
    ("implemented", "version"),
    [
        (set(), OLDEST),
        ({"ListDatabases"}, (2, 2, 9)),
        ({"ListDatabases", "DescribeDatabase"}, (2, 4, 3)),
        ({"ListDatabases", "DescribeDatabase", "ListPrivilegeGroups"}, (2, 5, 0)),
    ],
)
def test_an_unknown_server_is_as_new_as_what_it_implements(
    implemented: set[str], version: tuple[int, int, int]
) -> None:
    assert server_version(["master-abc"], implemented.__contains__) == (version, False)


def test_a_server_that_tells_its_version_is_not_probed() -> None:
    def probed(method: str) -> bool:
        raise AssertionError(method)

    assert server_version(["v2.3.5"], probed) == ((2, 3, 5), True)


def test_features_follow_the_version() -> None:
    assert features_of((2, 2, 8), databases=False) == {Feature.ALIASES}
    assert features_of((2, 2, 16), databases=False) == {Feature.ALIASES, Feature.RENAME}
    newer = features_of((2, 4, 2), databases=True)
    assert newer >= {Feature.COUNT, Feature.FLUSHES_DELETES, Feature.L0_SEGMENTS, Feature.DATABASES}
    assert Feature.DESCRIBE_DATABASE not in newer
    assert Feature.RBAC_BACKUP in features_of((2, 6, HEAD), databases=True)


@pytest.mark.parametrize(
    ("feature", "last_without", "first_with"),
    [
        (Feature.DELETE_TIMES, (2, 3, 4), (2, 3, 5)),
        (Feature.REST_IMPORT, (2, 3, HEAD), (2, 4, 0)),
        (Feature.RBAC_BACKUP, (2, 4, 9), (2, 4, 10)),
        (Feature.SEGMENT_DETAIL, (2, 5, 7), (2, 5, 8)),
        (Feature.ADD_FIELD, (2, 5, HEAD), (2, 6, 0)),
        (Feature.PACKED_SEGMENTS, (2, 5, HEAD), (2, 6, 0)),
        (Feature.MULTI_L0_IMPORT, (2, 6, 4), (2, 6, 5)),
        (Feature.COLLECTION_GC_PAUSE, (2, 6, 7), (2, 6, 8)),
        (Feature.FUNCTION_CHECK_SWITCH, (2, 6, 7), (2, 6, 8)),
        (Feature.FLUSH_ALL, (2, 6, 10), (2, 6, 11)),
        (Feature.REPLICATE_STREAM, (2, 6, 10), (2, 6, 11)),
        (Feature.SNAPSHOT, (2, 6, HEAD), (3, 0, 0)),
    ],
)
def test_each_feature_has_its_first_version_and_stays(
    feature: Feature, last_without: tuple[int, int, int], first_with: tuple[int, int, int]
) -> None:
    assert feature not in features_of(last_without, databases=True)
    for version in (first_with, (3, 0, 0), (4, 1, 0)):
        if version >= first_with:
            assert feature in features_of(version, databases=True)


def test_the_replication_position_is_of_2_5_alone() -> None:
    having = [
        version
        for version in [(2, 4, HEAD), (2, 5, 0), (2, 5, HEAD), (2, 6, 0), (3, 0, 0)]
        if Feature.REPLICATE_POSITION in features_of(version, databases=True)
    ]
    assert having == [(2, 5, 0), (2, 5, HEAD)]


def test_what_has_a_probe_is_asked_for_and_only_where_the_version_promises_it() -> None:
    asked: list[str] = []

    def implements(method: str) -> bool:
        asked.append(method)
        return False

    assert Feature.SNAPSHOT not in features_of((3, 0, 0), databases=True, implements=implements)
    assert asked == ["GetExportSnapshotState"]
    features_of((2, 6, 14), databases=True, implements=implements)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("version", "hybrid"),
    [((2, 3, 5), False), ((2, 4, 22), False), ((2, 4, 24), True), ((2, 5, 3), False), ((2, 6, 0), True)],
)
def test_the_unit_of_end_ts_changed_in_two_lines_at_once(version: tuple[int, int, int], hybrid: bool) -> None:
    assert (Feature.HYBRID_END_TS in features_of(version, databases=True)) == hybrid
