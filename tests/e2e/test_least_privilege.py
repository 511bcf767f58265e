"""Each command with exactly the rights of its policy file (docs/reference/policies), on a server that enforces them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mbk.demo.embedded import EmbeddedMilvus, S3Target
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_on_s3
from tests.e2e.site import Site, make_site, s3_storage
from tests.servers.s3 import Ministack, S3Server, ministack

POLICIES = Path(__file__).parents[2] / "docs/reference/policies"
#: As the files name them.
MILVUS, BACKUPS, FILES, BACKUP = "milvus-bucket", "backup-bucket", "files", "backup"
COMMANDS = ("create", "restore", "verify", "delete")


@pytest.fixture(scope="module")
def service() -> Iterator[Ministack]:
    with ministack() as root:
        yield root


@pytest.fixture(scope="module")
def owner(service: Ministack) -> S3Server:
    """Whose keys Milvus has."""
    owner = service.user("owner", MILVUS, BACKUPS)
    owner.make_bucket(BACKUPS)
    return owner


@pytest.fixture(scope="module")
def milvus(owner: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    store = S3Target(owner.host, owner.port, owner.access_key, owner.secret_key, MILVUS)
    with milvus_on_s3(tmp_path_factory.mktemp("milvus"), store, STABLE_SEGMENTS) as server:
        yield server


@pytest.fixture(scope="module")
def coll(milvus: EmbeddedMilvus) -> Iterator[Coll]:
    with Clients(milvus) as clients:
        yield data.plain(clients, "default", "docs")


@pytest.fixture(scope="module")
def kept(sites: dict[str, Site], coll: Coll) -> str:
    """A backup that stays."""
    sites["create"].mbk("create", "-n", "kept", "--filter", coll.name)
    return "kept"


def policy(command: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((POLICIES / f"s3-{command}.json").read_text())
    return document


def user(service: Ministack, name: str, document: Mapping[str, Any]) -> S3Server:
    """One who may do what the policy says, and nothing else."""
    iam = service.client("iam")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    give(service, name, document)
    return S3Server(service.port, key["AccessKeyId"], key["SecretAccessKey"])


def give(service: Ministack, name: str, document: Mapping[str, Any]) -> None:
    service.client("iam").put_user_policy(
        UserName=name, PolicyName="own", PolicyDocument=json.dumps(document)
    )


@pytest.fixture(scope="module")
def sites(
    service: Ministack, milvus: EmbeddedMilvus, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Site]:
    """For each command the place of a user with its rights."""
    home = tmp_path_factory.mktemp("users")
    return {
        command: site_of(milvus, user(service, command, policy(command)), home / command)
        for command in COMMANDS
    }


def site_of(milvus: EmbeddedMilvus, account: S3Server, home: Path) -> Site:
    home.mkdir()
    return make_site(
        home / "backup.yaml",
        milvus,
        s3_storage(account, MILVUS, FILES),
        s3_storage(account, BACKUPS, BACKUP),
    )


def wrong(site: Site, command: str, code: int = 0) -> list[str]:
    """What `check` finds missing of a storage for a command."""
    found = site.json("check", "--for", command, code=code)
    return [
        item["what"]
        for item in found
        if not (item["ok"] and not item["warning"]) and "storage" in item["what"]
    ]


def test_each_command_does_its_work_with_its_own_rights(sites: dict[str, Site], coll: Coll) -> None:
    sites["create"].mbk("create", "-n", "nightly", "--filter", "docs")
    assert {command: wrong(sites[command], command) for command in COMMANDS} == {
        command: [] for command in COMMANDS
    }
    sites["restore"].mbk("restore", "-n", "nightly", "-s", "_back", "--rebuild_index")
    assert_same(coll, coll.moved("docs_back"))
    sites["verify"].mbk("verify", "-n", "nightly", "--depth", "contents")
    assert sites["verify"].json("get", "nightly")["verified"]["depth"] == "contents"
    sites["delete"].mbk("delete", "-n", "nightly", "--yes")
    assert "nightly" not in [item["name"] for item in sites["delete"].json("list")]


def _single_rights() -> Iterator[Any]:
    for command in COMMANDS:
        for number, statement in enumerate(policy(command)["Statement"]):
            for action in statement["Action"]:
                if action != "s3:AbortMultipartUpload":  # needed only for what a killed run left
                    yield pytest.param(command, number, action, id=f"{command}-{statement['Sid']}-{action}")


@pytest.mark.parametrize(("command", "number", "action"), list(_single_rights()))
def test_a_check_notices_each_right_that_is_missing(
    command: str, number: int, action: str, service: Ministack, sites: dict[str, Site], kept: str
) -> None:
    less = policy(command)
    statement = less["Statement"].pop(number)
    if rest := [other for other in statement["Action"] if other != action]:
        less["Statement"].append({**statement, "Action": rest})
    give(service, command, less)
    try:
        with sites[command].session() as session:
            told = [item for item in session.check(command) if "storage" in item.what]
    finally:
        give(service, command, policy(command))
    assert [item.what for item in told if not item.ok or item.warning], kept


@pytest.mark.parametrize(
    ("command", "other", "bucket"),
    [
        ("create", "restore", BACKUPS),
        ("create", "verify", MILVUS),
        ("create", "delete", MILVUS),
        ("restore", "create", MILVUS),
        ("restore", "verify", MILVUS),
        ("verify", "restore", ""),
        ("delete", "verify", BACKUPS),
        ("delete", "restore", BACKUPS),
    ],
)
def test_with_the_rights_of_another_command_it_is_told_what_is_refused(
    command: str, other: str, bucket: str, service: Ministack, sites: dict[str, Site], kept: str
) -> None:
    words = {
        "create": ("create", "-n", "denied", "--filter", "docs"),
        "restore": ("restore", "-n", kept, "-s", "_denied"),
        "verify": ("verify", "-n", kept),
        "delete": ("delete", "-n", kept, "--yes"),
    }
    # What could not be deleted is told as that, each object with its reason.
    refused = 1 if command == "delete" else 6
    done = sites[other].mbk(*words[command], code=refused if bucket else 0)
    assert bucket in done.stderr
    assert ("not authorized" if bucket else "not kept") in done.stderr
    assert [item["name"] for item in sites["create"].json("list")] == [kept]
