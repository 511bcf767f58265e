"""A backup goes up to a double of Zilliz Cloud over real HTTP, to a real S3 server, on credentials that only put and list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mbk.errors import AuthenticationFailed, ConfigError, MilvusError, MilvusUnavailable
from mbk.session import Session
from tests.milvus_double.cloud import ZillizCloud
from tests.raising import raised
from tests.servers.s3 import Ministack, ministack
from tests.sharing import share_in
from tests.versions.everything import fill
from tests.versions.places import Place, place

CLUSTER = "in01-cluster"


@pytest.fixture(scope="module")
def storage() -> Iterator[Ministack]:
    with ministack() as server:
        server.client().create_bucket(Bucket="volumes")
        yield server


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("milvus"), "v2.4.23") as found:
        fill(found.double)
        with found.session() as session:
            session.create("moving")
            session.create("shared")
        share_in(found.config.parent / "backups", "shared")
        yield found


@pytest.fixture
def cloud(storage: Ministack) -> Iterator[ZillizCloud]:
    with ZillizCloud(storage, "volumes") as found:
        yield found


def session_of(found: Place, cloud: ZillizCloud, *, key: str = "cloud-api-key") -> Session:
    return found.session(zillizCloud={"endpoint": cloud.url, "apiKey": key})


def objects_of(found: Place) -> set[str]:
    root = found.config.parent / "backups" / "moving"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_the_cloud_finds_the_whole_backup(backed_up: Place, cloud: ZillizCloud) -> None:
    with session_of(backed_up, cloud) as session:
        report = session.migrate("moving", CLUSTER)
    (migration,) = cloud.migrations
    assert (report.job, report.cluster) == (migration.job, migration.cluster)
    assert set(migration.keys) == objects_of(backed_up)
    wanted = json.loads(
        (Path(backed_up.config.parent) / "backups/moving/meta/full_meta.json").read_text("utf-8")
    )
    assert migration.backup == wanted


def test_the_cloud_finds_a_shared_backup_as_a_classic_one(backed_up: Place, cloud: ZillizCloud) -> None:
    with session_of(backed_up, cloud) as session:
        session.migrate("shared", CLUSTER)
    (migration,) = cloud.migrations

    def data(keys: Iterable[str]) -> set[str]:
        return {key for key in keys if key.startswith("binlogs/")}

    assert data(migration.keys) == data(objects_of(backed_up))
    assert migration.backup["name"] == "shared"
    assert not migration.backup.keys() & {"format", "mbk"}


def test_credentials_that_are_about_to_end_are_renewed(backed_up: Place, cloud: ZillizCloud) -> None:
    cloud.lifetime = timedelta(minutes=1)
    with session_of(backed_up, cloud) as session:
        session.migrate("moving", CLUSTER)
    assert len(cloud.applied) > 1
    assert len(cloud.migrations) == 1


def test_a_wrong_key_is_told_without_the_key(backed_up: Place, cloud: ZillizCloud) -> None:
    with (
        session_of(backed_up, cloud, key="wrong-key-0815") as session,
        raised(AuthenticationFailed, "cloud-key-refused", setting="zillizCloud.apiKey") as caught,
    ):
        session.migrate("moving", CLUSTER)
    assert "0815" not in str(caught.value)


def test_an_unknown_cluster_is_the_clouds_word(backed_up: Place, cloud: ZillizCloud) -> None:
    with session_of(backed_up, cloud) as session, raised(MilvusError, "cloud-request-refused") as caught:
        session.migrate("moving", "in99")
    assert "in99 does not exist" in str(caught.value.facts["reason"])


def test_a_cloud_that_is_away_is_named(backed_up: Place, cloud: ZillizCloud) -> None:
    with (
        backed_up.session(zillizCloud={"endpoint": "http://127.0.0.1:1", "apiKey": "x"}) as session,
        raised(MilvusUnavailable, "cloud-unreachable", setting="zillizCloud.endpoint"),
    ):
        session.migrate("moving", CLUSTER)


def test_without_a_key_nothing_is_asked(backed_up: Place) -> None:
    with backed_up.session() as session, pytest.raises(ConfigError) as caught:
        session.migrate("moving", CLUSTER)
    assert [problem.key for problem in caught.value.problems] == ["zillizCloud.apiKey"]
