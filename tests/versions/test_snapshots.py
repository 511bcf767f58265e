"""Snapshots through the real adapter and a real S3 service, on the double of a 3.0."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import mbk
from mbk.errors import ImportFailed, MilvusError, PartialFailure, UsageError
from mbk.model.reports import RunReport
from mbk.session import Session
from mbk_s3.settings import MinioSettings
from mbk_s3.storage import open_storage
from tests.e2e.site import s3_storage
from tests.milvus_double.faults import EXPORT, RESTORE
from tests.milvus_double.server import MilvusDouble
from tests.raising import raised
from tests.servers.s3 import S3Server, ministack
from tests.versions.everything import described, fill, rows_of

MILVUS, BACKUPS, ROOT = "milvus", "backups", "files"


@dataclass(frozen=True)
class Place:
    double: MilvusDouble
    service: S3Server
    directory: Path

    def session(self, **backup: Any) -> Session:
        """``backup`` are keys of the backup's storage, over the usual ones."""
        tree = {
            "configVersion": "v2",
            "log": {"level": "warn"},
            "milvus": {
                "grpc": {"address": self.double.address, "port": self.double.port},
                "rest": {"endpoint": self.double.rest_url},
                "management": {"endpoint": self.double.management_url},
                "storage": s3_storage(self.service, MILVUS, ROOT),
            },
            "backup": {"storage": s3_storage(self.service, BACKUPS, "backup") | backup},
        }
        config = self.directory / "backup.yaml"
        config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return mbk.connect(config)

    @property
    def snapshots(self) -> list[str]:
        with self.double.state.lock:
            return [snapshot.name for snapshot in self.double.state.snapshots.values()]

    @property
    def names(self) -> set[str]:
        with self.double.state.lock:
            return {collection.name for collection in self.double.state.collections.values()}

    def keys(self, prefix: str) -> list[str]:
        storage = open_storage(MinioSettings(**self.service.settings(BACKUPS)))
        try:
            return [entry.key for entry in storage.list(prefix)]
        finally:
            storage.close()


class Watch:
    """Sees each call before it is answered; keeps the last of each kind."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def before(self, method: str, request: Any) -> None:
        self.asked[method] = request

    def after(self, method: str, request: Any, response: Any) -> None: ...


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A 3.0 that keeps its segments with manifests, which only snapshots can hold, filled with all it has."""
    with ministack() as service:
        service.make_bucket(MILVUS)
        service.make_bucket(BACKUPS)
        storage = open_storage(MinioSettings(**service.settings(MILVUS), root_path=ROOT))
        with MilvusDouble("v3.0.1", storage=storage, root=ROOT, flush_rate=0, write_version=3) as double:
            fill(double)
            yield Place(double, service, tmp_path_factory.mktemp("snapshots"))


@pytest.fixture
def calm(place: Place) -> Iterator[Place]:
    """The place, with no fault and no setting of the double left behind."""
    snapshots = place.double.services.snapshots
    yield place
    place.double.faults.clear()
    snapshots.own_directory = snapshots.stores.canonical = False
    snapshots.seconds = 0.0
    snapshots.stores.aliases.clear()
    place.double.hooks.clear()


def assert_same(place: Place, report: RunReport) -> None:
    for item in report.collections:
        (database, name), (_, target) = item.source.split("."), item.target.split(".")
        assert item.outcome == "done", item
        assert rows_of(place.double, database, target) == rows_of(place.double, database, name), item.source
        assert described(place.double, database, target) == described(place.double, database, name), (
            item.source
        )


def test_everything_that_a_3_0_has_comes_back(calm: Place) -> None:
    with calm.session() as session:
        created = session.create("cycle")
        report = session.restore("cycle", suffix="_recover")
        shown = session.get("cycle").document
    assert {item.outcome for item in created.collections} == {"done"}
    assert shown["format"] == "snapshot"
    assert len(report.collections) == len(created.collections) > 10
    assert_same(calm, report)
    assert calm.snapshots == []
    places = ("backup/cycle/meta/", "backup/cycle/bundle/")
    assert all(key.startswith(places) for key in calm.keys("backup/cycle/"))


def test_an_export_may_have_a_directory_of_its_own_and_a_uri_of_another_form(calm: Place) -> None:
    snapshots = calm.double.services.snapshots
    snapshots.own_directory = snapshots.stores.canonical = True
    with calm.session() as session:
        session.create("forms", filter="scalars,grown")
        report = session.restore("forms", suffix="_forms")
    assert_same(calm, report)


def test_a_service_under_another_name_is_let_into_with_its_own_keys(calm: Place) -> None:
    """For mbk ``localhost`` is another service, so that Milvus is given endpoint and keys; to the server it is its own."""
    calm.double.services.snapshots.stores.aliases.add(f"localhost:{calm.service.port}")
    watch = Watch()
    calm.double.hooks.append(watch)
    with calm.session(address="localhost") as session:
        session.create("elsewhere", filter="scalars")
        report = session.restore("elsewhere", suffix="_elsewhere")
    assert_same(calm, report)
    export = watch.asked["ExportSnapshot"]
    assert export.target_s3_path == (f"minio://localhost:{calm.service.port}/backups/backup/elsewhere/bundle")
    assert '"cloud_provider": "minio"' in export.external_spec
    told = (calm.directory / "backup.yaml").read_text(encoding="utf-8")
    assert calm.service.secret_key in told
    assert all(calm.service.secret_key not in key for key in calm.keys("backup/elsewhere/"))


def test_an_export_that_fails_concerns_its_collection_alone(calm: Place) -> None:
    calm.double.faults.fail_import("no space", kind=EXPORT)
    with calm.session() as session:
        with pytest.raises(PartialFailure) as caught:
            session.create("partial", filter="scalars,binary")
        assert isinstance(caught.value.report, RunReport)
        (failed,) = caught.value.report.failed
        assert "no space" in str(failed.error)
        assert calm.snapshots == []
        session.create("partial", resume=True)
        report = session.restore("partial", suffix="_partial")
    assert {item.source for item in report.collections} == {"default.scalars", "default.binary"}
    assert_same(calm, report)


def test_ctrl_c_waits_for_what_milvus_has_begun_and_drops_the_snapshot(calm: Place) -> None:
    snapshots = calm.double.services.snapshots
    snapshots.seconds = 2.0
    known = set(snapshots.exports)
    with calm.session() as session:
        words = [
            "--config",
            str(calm.directory / "backup.yaml"),
            "create",
            "-n",
            "stopped",
            "--filter",
            "scalars",
        ]
        run = subprocess.Popen([sys.executable, "-m", "mbk", *words], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while set(snapshots.exports) == known:
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=60)
        assert run.returncode == 130, told
        assert "--resume" in told
        assert calm.snapshots == []
        snapshots.seconds = 0.0
        session.create("stopped", resume=True)
        report = session.restore("stopped", suffix="_stopped", filter="scalars_stopped")
    assert_same(calm, report)


def test_a_restore_that_fails_leaves_no_target(calm: Place) -> None:
    with calm.session() as session:
        session.create("broken", filter="scalars")
        calm.double.faults.fail_import("no space", kind=RESTORE)
        with pytest.raises(ImportFailed) as caught:
            session.restore("broken", suffix="_broken")
        assert "no space" in str(caught.value.facts["reason"])
        assert "scalars_broken" not in calm.names
        report = session.restore("broken", suffix="_broken")
    assert_same(calm, report)


def test_properties_are_left_out_and_the_description_is_changed_afterwards(calm: Place) -> None:
    mapping = [
        {
            "source": "default",
            "colls": [{"source": "scalars", "target": "copied", "override": {"description": "a copy"}}],
        }
    ]
    with calm.session() as session:
        session.create("described", filter="scalars")
        session.restore("described", mapping=mapping)
    assert calm.double.state.collection("default", "copied").schema.description == "a copy"
    assert rows_of(calm.double, "default", "copied") == rows_of(calm.double, "default", "scalars")


def test_segments_with_manifests_are_nothing_for_binlogs(calm: Place) -> None:
    with calm.session() as session, raised(MilvusError, "segment-version-unsupported") as caught:
        session.create("never", format="binlog", filter="scalars")
    assert "--format snapshot" in (caught.value.hint or "")
    assert calm.keys("backup/never/") == []


def test_an_older_server_is_told_what_it_would_need(tmp_path: Path, place: Place) -> None:
    with (
        MilvusDouble("v2.6.12", home=tmp_path / "milvus", flush_rate=0) as older,
        Place(older, place.service, tmp_path).session() as session,
        raised(UsageError, "snapshot-unsupported"),
    ):
        session.create("never", format="snapshot")
