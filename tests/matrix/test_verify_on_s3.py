"""`verify` of a backup in a real S3 server, whose etags are digests: each damage, in each depth that can notice it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from mbk.config.schema import StorageChoice
from mbk.model.states import Depth, FindingKind
from mbk.registry.registry import Registry
from tests.servers.s3 import S3Server, rclone
from tests.unit.engine.operations import test_verify as cases

BYTES = {Depth.LISTING: None, Depth.DIGESTS: FindingKind.DAMAGED, Depth.CONTENTS: FindingKind.DAMAGED}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with rclone() as found:
        yield found


@pytest.fixture
def storage(server: S3Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    """With backup ``src``, which has a record."""
    values = {
        "address": server.host,
        "port": server.port,
        "access_key_id": server.access_key,
        "secret_access_key": SecretStr(server.secret_key),
        "use_ssl": False,
        "bucket": f"verify-{abs(hash(request.node.name)) % 10**9}",
        "root_path": "backup",
    }
    opened: Any = Registry(disabled=()).open(StorageChoice(type="minio", values=values))
    opened.check(create=True)
    cases.filled(opened)
    cases.run(opened, Depth.CONTENTS, record=True)
    yield opened
    opened.close()


@pytest.mark.parametrize("depth", cases.ALL_DEPTHS)
def test_nothing_is_found_in_a_whole_backup(storage: Any, depth: Depth) -> None:
    report = cases.run(storage, depth)
    assert (report.findings, report.recorded) == ((), True)
    if depth is Depth.DIGESTS:
        assert all(item.vouched == item.objects for item in report.collections)
        assert not any(item.read for item in report.collections)


@pytest.mark.parametrize("depth", cases.ALL_DEPTHS)
@pytest.mark.parametrize("damage", cases.SIZES)
def test_what_a_listing_tells_is_found_in_every_depth(
    storage: Any, damage: cases.Damage, depth: Depth
) -> None:
    expected = damage(storage)
    assert cases.kinds(cases.run(storage, depth)) == expected


@pytest.mark.parametrize("depth", cases.ALL_DEPTHS)
@pytest.mark.parametrize("damage", [cases.flip(0.5), cases.exchanged])
def test_an_object_that_was_written_again_is_read_to_judge_it(
    storage: Any, damage: cases.Damage, depth: Depth
) -> None:
    expected = damage(storage)
    kind = BYTES[depth]
    assert cases.kinds(cases.run(storage, depth)) == (dict.fromkeys(expected, kind) if kind else {})


def test_the_same_bytes_written_again_are_no_finding(storage: Any) -> None:
    for key, content in cases.data(storage).items():
        cases.write(storage, key, content)
    report = cases.run(storage, Depth.DIGESTS)
    assert report.findings == ()
    assert all(item.vouched == item.objects for item in report.collections)
