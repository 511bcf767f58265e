"""Backups copied between real storages by address: there, back, again, stopped, refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mbk.config.schema import Settings, StorageChoice
from mbk.errors import AuthenticationFailed, BackupExists, BackupNotFound, Interrupted, NotFound, Unreachable
from mbk.model.events import Event, ObjectCopied
from mbk.model.options import CopyOptions
from mbk.model.states import BackupState, Depth
from mbk.ports.storage import Storage
from mbk.registry.registry import Registry
from mbk.session import Session
from tests.fakes.world import AT_ONCE, World
from tests.matrix.places import FROM, TO, Place
from tests.servers.azurite import azurite
from tests.servers.process import free_port
from tests.servers.s3 import ministack

ROOT = "backup"


@dataclass(frozen=True, slots=True)
class Site:
    """A session whose backups are in a bucket of a real S3 server, with backup ``nightly``; and further storages by name."""

    session: Session
    places: dict[str, Place]
    registry: Registry

    def storage(self, kind: str, side: str, root: str) -> Storage:
        return self.places[kind].opened(self.registry, side, root)

    def objects(self, kind: str, side: str, root: str, name: str = "nightly") -> dict[str, bytes]:
        """The bytes of a backup's objects, by their keys below it."""
        with closing(self.storage(kind, side, root)) as storage:
            prefix = f"{storage.location.root}{name}/"
            found = {}
            for entry in storage.list(prefix):
                with storage.read(entry.key) as chunks:
                    found[entry.key.removeprefix(prefix)] = b"".join(chunks)
        return found


@pytest.fixture(scope="module", name="places")
def two_services() -> Iterator[dict[str, Place]]:
    """A bucket to copy from and one to copy to of an S3 service and of Azure."""
    with ministack() as root, azurite() as accounts:
        s3 = root.user("copier", "copy-*")
        more = {"use_ssl": False, "region": s3.region}
        buckets = {side: s3.make_bucket(f"copy-{side}") for side in (FROM, TO)}
        blobs = {TO: accounts["alpha"].make_bucket("copy-to")}
        yield {
            "minio": Place("minio", buckets, lambda bucket: s3.settings(bucket, **more), print),
            "azure": Place("azure", blobs, accounts["alpha"].settings, print),
        }


@pytest.fixture(scope="module", name="backed_up")
def backup_in_memory() -> dict[str, bytes]:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(40))
    world.create()
    return {key.removeprefix(f"{ROOT}/"): data for key, data in world.backed_up.items()}


@pytest.fixture
def site(
    places: dict[str, Place], registry: Registry, backed_up: dict[str, bytes], request: Any
) -> Iterator[Site]:
    """The root path is the test's own."""
    root = f"{ROOT} {abs(hash(request.node.nodeid)) % 10**9}"
    place = places["minio"]
    with closing(place.opened(registry, FROM, root)) as storage:
        for key, data in backed_up.items():
            storage.write(f"{storage.location.root}{key}", [data], size=len(data))
    choice = StorageChoice(type="minio", values={**place.values(place.buckets[FROM]), "root_path": root})
    azure = places["azure"]
    profiles = {
        "blobs": StorageChoice(
            type="azure", values={**azure.values(azure.buckets[TO]), "root_path": f"{root} blobs"}
        ),
        "second": StorageChoice(
            type="s3", values={**place.values(place.buckets[TO]), "root_path": f"{root} second"}
        ),
        "wrong": StorageChoice(
            type="s3",
            values={**place.values(place.buckets[TO]), "secret_access_key": SecretStr("not-the-password")},
        ),
        "gone": StorageChoice(type="s3", values={**place.values(place.buckets[TO]), "port": free_port()}),
    }
    settings = Settings(storage=choice, backup_storage=choice, profiles=profiles)
    with Session(settings, registry=registry, pace=AT_ONCE) as session:
        yield Site(session, places, registry)


def root_of(site: Site, profile: str = "") -> str:
    settings = site.session.settings
    choice = settings.profiles[profile] if profile else settings.backup_storage
    return str(choice.values["root_path"])


def test_a_backup_goes_to_a_directory_on_to_another_vendor_and_back_byte_for_byte(
    site: Site, tmp_path: Path
) -> None:
    session = site.session
    original = site.objects("minio", FROM, root_of(site))
    assert session.copy("nightly", f"{tmp_path}/there/").transfer.objects == {"stream": len(original)}
    assert session.copy(f"file://{tmp_path}/there/nightly", "blobs@").name == "nightly"
    assert session.copy("blobs@nightly", "second@nightly").failed == ()
    files = (tmp_path / "there/nightly").rglob("*")
    assert {
        file.relative_to(tmp_path / "there/nightly").as_posix(): file.read_bytes()
        for file in files
        if file.is_file()
    } == original
    assert site.objects("azure", TO, root_of(site, "blobs")) == original
    assert site.objects("minio", TO, root_of(site, "second")) == original


def test_the_same_copy_again_copies_nothing_and_a_damaged_object_is_put_right(
    site: Site, tmp_path: Path
) -> None:
    session, count = site.session, len(site.objects("minio", FROM, root_of(site)))
    for to in (f"{tmp_path}/", "blobs@", "second@"):
        session.copy("nightly", to)
        assert session.plan("copy", "nightly", options(to)).present == count
        assert session.copy("nightly", to).transfer.objects == {"kept": count}
    file = next(path for path in tmp_path.rglob("*") if path.is_file() and "insert_log" in path.parts)
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert session.copy("nightly", f"{tmp_path}/").transfer.objects == {"stream": 1, "kept": count - 1}
    assert file.read_bytes() == whole
    for kind, side, profile in (("azure", TO, "blobs"), ("minio", TO, "second")):
        with closing(site.storage(kind, side, root_of(site, profile))) as storage:
            entry = next(item for item in storage.list(storage.location.root) if "/insert_log/" in item.key)
            storage.write(entry.key, [bytes(entry.size)])
        changed = session.copy("nightly", f"{profile}@", checksum="full").transfer.objects
        assert sum(changed.values()) == count
        assert site.objects(kind, side, root_of(site, profile)) == site.objects("minio", FROM, root_of(site))


def test_a_copy_under_another_name_is_whole_and_called_so(site: Site) -> None:
    session = site.session
    session.copy("nightly", "weekly")
    session.copy("weekly", "second@monthly")
    before, after = (session.get(name) for name in ("nightly", "weekly"))
    assert (after.name, after.id, after.size) == ("weekly", before.id, before.size)
    assert session.verify("weekly", depth=Depth.DIGESTS).is_whole
    original = site.objects("minio", FROM, root_of(site))
    copied = site.objects("minio", TO, root_of(site, "second"), "monthly")
    assert {key for key in original if original[key] != copied[key]} == {
        "meta/backup_meta.json",
        "meta/full_meta.json",
        "meta/mbk.json",
    }
    session.copy("second@monthly", "nightly")
    assert site.objects("minio", FROM, root_of(site)) == original


def test_a_bucket_of_the_configured_service_needs_no_profile(site: Site) -> None:
    bucket = site.places["minio"].buckets[TO]
    root = root_of(site)
    site.session.copy("nightly", f"s3://{bucket}/{root} by url/")
    site.session.copy(f"minio://{bucket}/{root} by url/nightly", "again")
    found = site.objects("minio", TO, f"{root} by url")
    assert found == site.objects("minio", FROM, root)
    names = [entry.name for entry in site.session.ls(f"s3://{bucket}/{root} by url/nightly")]
    assert names == ["binlogs/", "meta/"]
    assert {entry.name for entry in site.session.ls("nightly", recursive=True)} == found.keys()
    (total,) = site.session.ls(f"s3://{bucket}/{root} by url", totals=True)
    assert (total.objects, total.size) == (len(found), sum(map(len, found.values())))
    (alone,) = site.session.ls("nightly/meta/full_meta.json")
    assert (alone.name, alone.size) == ("full_meta.json", len(found["meta/full_meta.json"]))
    with pytest.raises(NotFound):
        list(site.session.ls("nightly/none"))


@pytest.mark.parametrize(
    ("address", "error"), [("wrong", AuthenticationFailed), ("gone", Unreachable)], ids=["password", "server"]
)
def test_a_storage_that_cannot_be_used_is_told_and_the_backup_stays(
    site: Site, address: str, error: type[Exception]
) -> None:
    before = site.objects("minio", FROM, root_of(site))
    with pytest.raises(error) as caught:
        site.session.copy("nightly", f"{address}@")
    with pytest.raises(error):
        site.session.copy(f"{address}@nightly", "fetched")
    assert "not-the-password" not in str(caught.value)
    assert site.objects("minio", FROM, root_of(site)) == before
    with pytest.raises(BackupNotFound):
        site.session.get("fetched")


def test_an_interrupted_copy_is_no_backup_and_is_completed_by_the_same_command(site: Site) -> None:
    session, stop = site.session, threading.Event()
    copied: list[str] = []

    def amid(event: Event) -> None:
        if isinstance(event, ObjectCopied):
            copied.append(event.key)
            if len(copied) == 5:
                stop.set()

    with pytest.raises(Interrupted) as caught:
        session.copy("nightly", "second@", on_event=amid, cancelled=stop)
    assert caught.value.hint == "run it again to resume"
    with Session(
        session.settings.model_copy(update={"backup_storage": session.settings.profiles["second"]}),
        registry=site.registry,
        pace=AT_ONCE,
    ) as there:
        assert [item.state for item in there.list()] == [BackupState.INCOMPLETE]
        report = session.copy("nightly", "second@")
        assert report.transfer.objects["kept"] >= 5
        assert [item.state for item in there.list()] == [BackupState.COMPLETE]
    assert site.objects("minio", TO, root_of(site, "second")) == site.objects("minio", FROM, root_of(site))


def test_a_plan_counts_objects_bytes_and_requests_and_writes_nothing(site: Site) -> None:
    original = site.objects("minio", FROM, root_of(site))
    count = len(original)
    streamed = site.session.plan("copy", "nightly", options("blobs@"))
    assert (streamed.objects, streamed.size) == (count, sum(map(len, original.values())))
    requests = {side.side: side.counts for side in streamed.requests}
    assert requests["backups"]["get"] == count <= requests["target"]["put"]
    served = site.session.plan("copy", "nightly", options("second@"))
    assert next(side.counts["copy"] for side in served.requests if side.side == "target") == count
    assert not site.objects("azure", TO, root_of(site, "blobs"))
    assert not site.objects("minio", TO, root_of(site, "second"))


def test_another_backup_in_the_way_is_not_touched(site: Site, backed_up: dict[str, bytes]) -> None:
    with closing(site.storage("minio", TO, root_of(site, "second"))) as storage:
        for key, data in backed_up.items():
            changed = data.replace(site.session.get("nightly").id.encode(), b"of-another-backup")
            if not key.endswith("mbk.json"):
                storage.write(f"{storage.location.root}{key}", [changed])
    before = site.objects("minio", TO, root_of(site, "second"))
    with pytest.raises(BackupExists):
        site.session.copy("nightly", "second@")
    assert site.objects("minio", TO, root_of(site, "second")) == before


def options(to: str) -> CopyOptions:
    return CopyOptions(to=to)
