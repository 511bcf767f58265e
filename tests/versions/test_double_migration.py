"""`migrate` against real HTTP and credentials that a real S3 service enforces: they put and list, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pymilvus import DataType

from mbk.errors import AuthenticationFailed, MbkError, MilvusError
from mbk.session import Session
from tests.milvus_double.cloud import START, ZillizCloud
from tests.raising import raised
from tests.servers.s3 import Ministack, ministack
from tests.versions.everything import Filling
from tests.versions.places import Place, place

CLUSTER = "in01-cluster"


@dataclass(frozen=True)
class Backed:
    place: Place
    service: Ministack

    def session(self, cloud: ZillizCloud, key: str = "cloud-api-key") -> Session:
        return self.place.session(zillizCloud={"endpoint": cloud.url, "apiKey": key})


@pytest.fixture(scope="module")
def backed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    with place(tmp_path_factory.mktemp("place"), "v2.5.8") as there, ministack() as service:
        filling = Filling(there.double)
        client = filling.client()
        schema = client.create_schema(auto_id=False)
        schema.add_field("pk", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
        client.create_collection("docs", schema=schema)
        client.insert("docs", [{"pk": number, "v": [number, 1]} for number in range(10)])
        filling.close()
        service.make_bucket("volumes")
        with there.session() as session:
            session.create("nightly")
        yield Backed(there, service)


def test_a_backup_goes_up_with_keys_that_can_only_put_and_list(backed: Backed) -> None:
    with ZillizCloud(backed.service, "volumes") as cloud, backed.session(cloud) as session:
        report = session.migrate("nightly", CLUSTER)
        (migration,) = cloud.migrations
        assert report.job == migration.job
        assert migration.cluster == CLUSTER
        assert [item["collection_name"] for item in migration.backup["collection_backups"]] == ["docs"]
        assert sum(key.startswith("binlogs/insert_log/") for key in migration.keys) == 4
        assert len(cloud.applied) == 1


def test_keys_that_end_soon_are_renewed(backed: Backed) -> None:
    with ZillizCloud(backed.service, "volumes", lifetime=timedelta(minutes=1)) as cloud:
        with backed.session(cloud) as session:
            session.migrate("nightly", CLUSTER)
        assert len(cloud.applied) > 1
        assert len(cloud.migrations) == 1


def test_keys_that_ended_before_their_time_are_renewed_once(backed: Backed) -> None:
    with ZillizCloud(backed.service, "volumes", volume="fresh", run_out=1) as cloud:
        with backed.session(cloud) as session:
            session.migrate("nightly", CLUSTER)
        assert len(cloud.applied) == 2
        assert len(cloud.migrations) == 1


def test_what_the_service_refuses_is_told(backed: Backed) -> None:
    with ZillizCloud(backed.service, "volumes") as cloud:
        with backed.session(cloud, "wrong") as session, pytest.raises(AuthenticationFailed):
            session.migrate("nightly", CLUSTER)
        with backed.session(cloud) as session:
            with raised(MilvusError, "cloud-request-refused") as caught:
                session.migrate("nightly", "in01-other")
            assert "in01-other does not exist" in str(caught.value.facts["reason"])
            cloud.faults.http(START, status=503, body=b"{}")
            with raised(MbkError, "cloud-unavailable", status=503):
                session.migrate("nightly", CLUSTER)
            assert not cloud.migrations
