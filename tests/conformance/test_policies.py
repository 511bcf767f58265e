"""The policy files of Google, Azure, Alibaba and Tencent (docs/reference/policies), on servers that enforce rights.

Azurite enforces the letters of a SAS, the server for Google permissions by bucket. Those for OSS and COS ask an S3 server, which enforces
the same policy in its own words: what it cannot tell is whether the vendors' words are spelled right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mbk.engine.operations.check import Check
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.errors import MilvusUnavailable
from mbk.model.operations import OPERATIONS
from mbk.ports.milvus.server import Milvus
from mbk.ports.storage import Storage
from mbk_ali.settings import AliSettings
from mbk_ali.storage import open_storage as open_ali
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import open_storage as open_azure
from mbk_gcp.settings import GcpSettings
from mbk_gcp.storage import open_storage as open_gcp
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage as open_tc
from tests.conformance.test_azure_access import sas
from tests.fakes.world import QUICK
from tests.servers.azurite import azurite
from tests.servers.cos import cos
from tests.servers.gcs import gcs
from tests.servers.gcs_accounts import Account
from tests.servers.oss import oss

POLICIES = Path(__file__).parents[2] / "docs/reference/policies"
COMMANDS = ("create", "restore", "verify", "delete")
MILVUS, BACKUPS = ("milvus-bucket", "files"), ("backup-bucket", "backup")
#: From a policy to the two storages as its user sees them, Milvus' and the backups'.
Places = Callable[[Mapping[str, Any]], tuple[Storage, Storage]]


def policy(vendor: str, command: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((POLICIES / f"{vendor}-{command}.json").read_text())
    return document


def fill(storage: Storage, backups: Storage) -> None:
    storage.write("files/insert_log/1/2/3/4/5", [b"data"], size=4)
    backups.write("backup/nightly/binlogs/insert_log/1/2/3/3/4/5", [b"data"], size=4)


# -- Google ----------------------------------------------------------------------------------------------------------


class Granted(Account):
    """With the permissions of custom roles, by bucket."""

    roles: Mapping[str, Any]

    def may(self, permission: str, bucket: str) -> bool:
        return permission in self.roles.get(bucket, {}).get("includedPermissions", ())


@contextmanager
def at_google() -> Iterator[Places]:
    with gcs() as server:

        def opened(account: Account, place: tuple[str, str]) -> Storage:
            token = server.accounts.token(account)
            values = server.settings(place[0], session_token=token, root_path=place[1])
            return open_gcp(GcpSettings(**values))

        owner = server.account("owner", "*")
        for bucket, _ in (MILVUS, BACKUPS):
            server.make_bucket(bucket)
        fill(opened(owner, MILVUS), opened(owner, BACKUPS))

        def places(document: Mapping[str, Any]) -> tuple[Storage, Storage]:
            user = Granted("mbk@project.iam.gserviceaccount.com", (), owner.key)
            user.roles = document
            return opened(user, MILVUS), opened(user, BACKUPS)

        yield places


# -- Azure -----------------------------------------------------------------------------------------------------------


@contextmanager
def at_azure() -> Iterator[Places]:
    with azurite() as accounts:
        account = accounts["alpha"]

        def opened(place: tuple[str, str], letters: str) -> Storage:
            token = sas(account, letters or "a", place[0])
            values = account.keyless(place[0], sas_token=token, root_path=place[1])
            return open_azure(AzureSettings(**values))

        for bucket, _ in (MILVUS, BACKUPS):
            account.make_bucket(bucket)
        fill(opened(MILVUS, "racwdl"), opened(BACKUPS, "racwdl"))

        def places(document: Mapping[str, Any]) -> tuple[Storage, Storage]:
            letters = document["sas"]
            return opened(MILVUS, letters.get(MILVUS[0], "")), opened(BACKUPS, letters.get(BACKUPS[0], ""))

        yield places


# -- Alibaba and Tencent ---------------------------------------------------------------------------------------------

_WORDS = {
    "GetBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "HeadObject": "GetObject",
    "PutObjectCopy": "PutObject",
    "InitiateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "DeleteMultipleObjects": "DeleteObject",
    "ListMultipartUploads": "ListBucketMultipartUploads",
}


def in_words_of_s3(statement: Mapping[str, Any]) -> dict[str, Any]:
    """One statement of RAM or CAM: on a bucket itself its keys are prefixes of what is listed."""
    told = {name.lower(): value for name, value in statement.items()}
    actions = [action.rpartition(":")[2] for action in told["action"]]
    actions = sorted({f"s3:{_WORDS.get(action, action)}" for action in actions})
    resources = [f"arn:aws:s3:::{name.rpartition(':')[2]}" for name in told["resource"]]
    lists = [action for action in actions if action.startswith("s3:List")]
    if lists:
        assert actions == lists, "listing has a statement of its own"
        resources = [name.partition("/")[0] for name in resources]
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _at_a_front(front: Any, open_: Callable[..., Storage], number: str) -> Places:
    owner = front.user("owner", "*")
    user = front.user("mbk", "nothing")
    milvus, backups = ((name + number, root) for name, root in (MILVUS, BACKUPS))

    def opened(account: Any) -> tuple[Storage, Storage]:
        return (
            open_(account.settings(milvus[0], root_path=milvus[1])),
            open_(account.settings(backups[0], root_path=backups[1])),
        )

    for bucket, _ in (milvus, backups):
        owner.make_bucket(bucket)
    fill(*opened(owner))

    def places(document: Mapping[str, Any]) -> tuple[Storage, Storage]:
        statements = document.get("Statement") or document["statement"]
        converted = {"Version": "2012-10-17", "Statement": [in_words_of_s3(item) for item in statements]}
        front.upstream.client("iam").put_user_policy(
            UserName="mbk", PolicyName="own", PolicyDocument=json.dumps(converted)
        )
        return opened(user)

    return places


@contextmanager
def at_alibaba() -> Iterator[Places]:
    with oss() as front:
        yield _at_a_front(front, lambda values: open_ali(AliSettings(**values)), "")


@contextmanager
def at_tencent() -> Iterator[Places]:
    with cos() as front:
        yield _at_a_front(front, lambda values: open_tc(TcSettings(**values)), "-1250000000")


# -- the tests -------------------------------------------------------------------------------------------------------

VENDORS = {"gcp": at_google, "azure": at_azure, "ali": at_alibaba, "tc": at_tencent}


@pytest.fixture(scope="module", params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Iterator[tuple[str, Places]]:
    with ExitStack() as stack:
        yield request.param, stack.enter_context(VENDORS[request.param]())


def _away() -> Milvus:
    raise MilvusUnavailable("none is here")


def wrong(places: Places, document: Mapping[str, Any], command: str) -> list[str]:
    """What `check` finds missing of the storages."""
    storage, backups = places(document)
    check = Check(
        _away,
        lambda: storage,
        lambda: backups,
        Run(policy=QUICK),
        TransferLimits(),
        command=OPERATIONS[command],
    )
    return [
        f"{item.what}: {item.detail}"
        for item in check.results()
        if "storage" in item.what and (not item.ok or item.warning)
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_needs_no_more_than_its_file_grants(vendor: tuple[str, Places], command: str) -> None:
    name, places = vendor
    expected = ["part copy"] if name == "gcp" else []  # which Google has not
    found = wrong(places, policy(name, command), command)
    assert [item for item in found if not any(word in item for word in expected)] == []


@pytest.mark.parametrize(
    ("command", "other"),
    [
        ("create", "restore"),
        ("create", "verify"),
        ("restore", "create"),
        ("restore", "verify"),
        ("delete", "restore"),
    ],
)
def test_the_file_of_another_command_is_not_enough(
    vendor: tuple[str, Places], command: str, other: str
) -> None:
    name, places = vendor
    assert [item for item in wrong(places, policy(name, other), command) if "part copy" not in item]
