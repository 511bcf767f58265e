"""Milvus' data in one account, the backups in another: who reads what, the way of the bytes, keys that are wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbk.demo.embedded import EmbeddedMilvus, S3Target
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_on_s3
from tests.e2e.site import ROOT, Site
from tests.servers.azurite import Account, azurite
from tests.servers.faults import FaultProxy, fault_proxy
from tests.servers.s3 import Ministack, S3Server, ministack

DATA, BACKUPS = "milvus-data", "backups-of-bob"
READ = ["s3:GetObject"]


@dataclass(frozen=True, slots=True)
class Service:
    """``alice`` may do everything with `DATA` and nothing else, ``bob`` with `BACKUPS`; Milvus works as alice."""

    root: Ministack
    alice: S3Server
    bob: S3Server

    def share(self, bucket: str, user: str) -> None:
        """A bucket policy that lets the user read."""
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::000000000000:user/{user}"},
            "Action": READ,
            "Resource": f"arn:aws:s3:::{bucket}/*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.root.client().put_bucket_policy(Bucket=bucket, Policy=policy)

    def unshare(self, bucket: str) -> None:
        self.root.client().delete_bucket_policy(Bucket=bucket)

    @property
    def backed_up(self) -> list[str]:
        return data.keys_below(self.bob, BACKUPS, "")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with ministack() as root:
        alice, bob = root.user("alice", DATA), root.user("bob", BACKUPS)
        bob.make_bucket(BACKUPS)
        yield Service(root, alice, bob)


@pytest.fixture(scope="module")
def milvus_of_alice(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    alice = service.alice
    store = S3Target(alice.host, alice.port, alice.access_key, alice.secret_key, DATA)
    with milvus_on_s3(tmp_path_factory.mktemp("milvus"), store, STABLE_SEGMENTS) as server:
        yield server


@pytest.fixture(scope="module")
def clients(milvus_of_alice: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus_of_alice) as found:
        yield found


@pytest.fixture(scope="module")
def coll(clients: Clients) -> Coll:
    return data.plain(clients, clients.database("shop"), "docs")


def site_of(server: EmbeddedMilvus, service: Service, home: Path, **minio: Any) -> Site:
    """The classic file: ``accessKeyID`` opens the source, ``backupAccessKeyID`` the destination."""
    alice, bob = service.alice, service.bob
    tree = {
        "log": {"level": "debug", "console": False, "file": {"filename": str(home / "mbk.log")}},
        "milvus": {"address": server.address, "port": server.port},
        "minio": {
            "storageType": "minio",
            "address": alice.host,
            "port": alice.port,
            "useSSL": False,
            "accessKeyID": alice.access_key,
            "secretAccessKey": alice.secret_key,
            "bucketName": DATA,
            "rootPath": ROOT,
            "backupAccessKeyID": bob.access_key,
            "backupSecretAccessKey": bob.secret_key,
            "backupBucketName": BACKUPS,
            "backupRootPath": "backup",
            **minio,
        },
        "backup": {"gcPause": {"address": server.management_url}},
    }
    config = home / "backup.yaml"
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return Site(server, config)


@pytest.fixture
def site(milvus_of_alice: EmbeddedMilvus, service: Service, tmp_path: Path) -> Site:
    return site_of(milvus_of_alice, service, tmp_path)


@pytest.mark.parametrize(
    ("shared", "ways"),
    [
        ((), ("stream", "stream")),
        (((DATA, "bob"),), ("server", "stream")),
        (((DATA, "bob"), (BACKUPS, "alice")), ("server", "server")),
    ],
    ids=["disjoint", "bob_reads", "both_read"],
)
def test_create_and_restore_go_server_side_exactly_where_a_policy_lets_them(
    shared: tuple[tuple[str, str], ...],
    ways: tuple[str, str],
    site: Site,
    service: Service,
    coll: Coll,
) -> None:
    name = f"case_{len(shared)}"
    for bucket, user in shared:
        service.share(bucket, user)
    try:
        created = site.json("create", "-n", name, "--filter", str(coll))
        restored = site.json("restore", "-n", name, "-s", f"_{name}", "--rebuild_index")
    finally:
        for bucket, _ in shared:
            service.unshare(bucket)
    assert_same(coll, coll.moved(f"{coll.name}_{name}"))
    for report, way, source in zip((created, restored), ways, (DATA, BACKUPS), strict=True):
        assert set(report["transfer"]["objects"]) == {way}
        reason = report["transfer"]["streamed_because"]
        assert (source in reason and "may not copy" in reason) if way == "stream" else reason is None


#: Keys of one side that do not open its bucket.
WRONG = {
    "secret": lambda owner, other: (owner.access_key, "wrong-secret-of-nobody-0123456789abcdef"),
    "unknown": lambda owner, other: ("AKIAUNKNOWNUNKNOWN01", "wrong-secret-of-nobody-0123456789abcdef"),
    "foreign": lambda owner, other: (other.access_key, other.secret_key),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_wrong_key_is_a_permission_error_with_the_bucket_and_changes_nothing(
    side: str,
    kind: str,
    milvus_of_alice: EmbeddedMilvus,
    service: Service,
    site: Site,
    coll: Coll,
    clients: Clients,
    tmp_path: Path,
) -> None:
    if "whole/meta/full_meta.json" not in "".join(service.backed_up):
        site.mbk("create", "-n", "whole", "--filter", str(coll))
    owner, other = (service.alice, service.bob) if side == "source" else (service.bob, service.alice)
    key, secret = WRONG[kind](owner, other)
    prefix = "" if side == "source" else "backup"
    names = ("accessKeyID", "secretAccessKey") if side == "source" else ("AccessKeyID", "SecretAccessKey")
    wrong = {f"{prefix}{names[0]}": key, f"{prefix}{names[1]}": secret}
    (tmp_path / "wrong").mkdir()
    lost = site_of(milvus_of_alice, service, tmp_path / "wrong", **wrong)
    before = service.backed_up, data.keys_below(service.alice, DATA, f"{ROOT}/restore-temp")
    collections = set(clients["shop"].list_collections())
    bucket = DATA if side == "source" else BACKUPS
    for words in (
        ("create", "-n", "denied", "--filter", str(coll)),
        ("restore", "-n", "whole", "-s", "_denied"),
    ):
        done = lost.mbk("-v", *words, code=6)
        assert done.stdout == ""
        assert bucket in done.stderr
        assert secret not in done.stderr
        assert "Traceback" not in done.stderr
    assert (service.backed_up, data.keys_below(service.alice, DATA, f"{ROOT}/restore-temp")) == before
    assert set(clients["shop"].list_collections()) == collections
    assert secret not in log_of(lost)


def log_of(site: Site) -> str:
    return "".join(path.read_text() for path in site.config.parent.rglob("*.log*"))


@pytest.mark.parametrize(
    ("user", "action", "bucket"), [("alice", "s3:GetObject", DATA), ("bob", "s3:PutObject", BACKUPS)]
)
def test_a_right_that_is_missing_leaves_no_backup_that_looks_whole(
    user: str, action: str, bucket: str, site: Site, service: Service, coll: Coll
) -> None:
    name = f"without_{action[3:6].lower()}"
    service.root.forbid(user, "missing", [action], [f"arn:aws:s3:::{bucket}/*"])
    try:
        done = site.mbk("create", "-n", name, "--filter", str(coll), code=6)
    finally:
        service.root.withdraw(user, "missing")
    assert bucket in done.stderr
    assert not [key for key in service.backed_up if key.endswith(f"{name}/meta/full_meta.json")]
    assert name not in {item["name"] for item in site.json("list") if item["state"] != "incomplete"}
    site.mbk("restore", "-n", name, "-s", "_never", code=4 if user == "bob" else 1)


def test_no_secret_is_logged_at_debug(
    site: Site, service: Service, coll: Coll, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by the shell nor by a library within a program that logs everything."""
    told = site.mbk("-v", "create", "-n", "quiet", "--filter", str(coll))
    told_by_shell = log_of(site) + told.stdout + told.stderr
    assert "quiet" in log_of(site)
    caplog.set_level(logging.DEBUG)
    with site.session() as session:
        report = session.create("quiet_too", filter=str(coll))
    records = "\n".join(f"{record.getMessage()} {record.args!r}" for record in caplog.records)
    assert any(record.name == "mbk.requests" for record in caplog.records), "no request is in the log"
    for secret in (service.alice.secret_key, service.bob.secret_key):
        assert secret not in told_by_shell + records + repr(report) + repr(session.settings)


# -- mbk check -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with azurite() as accounts:
        accounts["alpha"].make_bucket("backups")
        yield accounts["alpha"]


@pytest.fixture
def proxy(service: Service) -> Iterator[FaultProxy]:
    with fault_proxy(service.alice.port) as proxy:
        yield proxy


def checked(site: Site, code: int = 0) -> dict[str, dict[str, Any]]:
    return {answer["what"]: answer for answer in site.json("check", code=code)}


def on_azure(server: EmbeddedMilvus, service: Service, account: Account, home: Path, **minio: Any) -> Site:
    azure = {
        "backupStorageType": "azure",
        "backupAddress": account.settings("backups")["address"],
        "backupPort": account.port,
        "backupUseSSL": False,
        "backupAccessKeyID": account.name,
        "backupSecretAccessKey": account.key,
        "backupBucketName": "backups",
    }
    return site_of(server, service, home, **azure, **minio)


def test_check_answers_every_question_on_two_vendors_and_leaves_nothing(
    milvus_of_alice: EmbeddedMilvus,
    service: Service,
    account: Account,
    proxy: FaultProxy,
    coll: Coll,
    tmp_path: Path,
) -> None:
    before = data.keys_below(service.alice, DATA, "")
    answers = checked(on_azure(milvus_of_alice, service, account, tmp_path, port=proxy.port))
    operations = {
        "list", "read", "write", "server-side copy", "part copy", "conditional create", "delete", "unfinished uploads",
    }  # fmt: skip
    for side in ("milvus storage", "backup storage"):
        assert {what.removeprefix(f"{side}: ") for what in answers if what.startswith(f"{side}: ")} - {
            "Milvus' data"
        } == operations
    assert all(answer["ok"] for answer in answers.values())
    assert answers["milvus storage: Milvus' data"]["detail"].startswith("found below")
    for one, other in (("milvus", "backup"), ("backup", "milvus")):
        detail = answers[f"copy from {one} storage to {other} storage"]["detail"]
        assert detail.startswith("streamed through this process:")
    lists = [request.target for request in proxy.requests if "list-type=2" in request.target]
    assert lists
    assert all(f"prefix={ROOT}%2F" in target for target in lists)
    # The root, its kinds of logs, and whether Milvus' own collections are there: nothing below is listed.
    asked = [target for target in lists if "mbk_check_" not in target]
    assert len(asked) <= 3
    assert all("max-keys=1&" in target or "delimiter=" in target for target in asked)
    assert data.keys_below(service.alice, DATA, "") == before
    with account.client() as client:
        assert list(client.get_container_client("backups").list_blobs()) == []


@pytest.mark.parametrize("wrong", [{"rootPath": "file"}, {"bucketName": "milvus-other"}])
def test_check_recognises_a_wrong_place_without_listing_the_bucket(
    wrong: dict[str, str],
    milvus_of_alice: EmbeddedMilvus,
    service: Service,
    account: Account,
    proxy: FaultProxy,
    coll: Coll,
    tmp_path: Path,
) -> None:
    if "bucketName" in wrong:
        service.root.allow(
            "alice", "other", ["s3:*"], ["arn:aws:s3:::milvus-other", "arn:aws:s3:::milvus-other/*"]
        )
        service.alice.make_bucket("milvus-other")
    site = on_azure(milvus_of_alice, service, account, tmp_path, port=proxy.port, **wrong)
    answer = checked(site, code=2)["milvus storage: Milvus' data"]
    assert (answer["ok"], answer["exit_code"]) == (False, 2)
    assert "rootPath" in answer["hint"]
    root = wrong.get("rootPath", ROOT)
    lists = [request.target for request in proxy.requests if "list-type=2" in request.target]
    assert all(f"prefix={root}%2F" in target for target in lists)
