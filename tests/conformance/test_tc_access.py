"""Who may reach a COS bucket, how, and what is said when it cannot be reached."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from mbk.errors import AuthenticationFailed, BucketNotFound, MbkError, PermissionDenied
from mbk.plugin.objects import ObjectStorage
from mbk.testing import AccessConformance
from mbk.testing.access import Sharing
from mbk_tc.credentials import ROLES, TOKEN_FILE, VARIABLES
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage
from mbk_tc.wire import TcWire
from tests.raising import raised
from tests.servers import cos
from tests.servers.documents import answering
from tests.servers.faults import fault_proxy
from tests.servers.process import HOST, free_port

ALICES = "alice-1250000000"


@pytest.fixture(scope="module")
def front() -> Iterator[cos.CosFront]:
    with cos.cos() as front:
        yield front


@pytest.fixture(scope="module")
def alice(front: cos.CosFront) -> cos.CosAccount:
    account = front.user("alice", "alice-*")
    account.make_bucket(ALICES)
    return account


@pytest.fixture(scope="module")
def bob(front: cos.CosFront) -> cos.CosAccount:
    account = front.user("bob", "bob-*")
    account.make_bucket("bob-1250000000")
    return account


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES[0], *VARIABLES[1], TOKEN_FILE, "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def storage_of(account: cos.CosAccount, bucket: str = ALICES, **more: Any) -> ObjectStorage[TcWire]:
    return open_storage(TcSettings(**account.settings(bucket, **more)))


def keyless(account: cos.CosAccount, **more: Any) -> ObjectStorage[TcWire]:
    return storage_of(account, **{"access_key_id": "", "secret_access_key": "", **more})


def at(address: str) -> ObjectStorage[TcWire]:
    return open_storage(TcSettings(bucket=ALICES, address=address))


def write_and_read(storage: ObjectStorage[TcWire], key: str = "some/key") -> None:
    storage.write(key, [b"content"], size=7)
    with storage.read(key) as chunks:
        assert b"".join(chunks) == b"content"
    assert [info.key for info in storage.list(key.rpartition("/")[0] + "/")] == [key]
    storage.delete([key])


def document(keys: tuple[str, str, str], seconds: int = 3600) -> dict[str, Any]:
    """Temporary credentials in the metadata service's words."""
    return {
        "Code": "Success",
        "TmpSecretId": keys[0],
        "TmpSecretKey": keys[1],
        "Token": keys[2],
        "ExpiredTime": int(time.time()) + seconds,
    }


class TestCosAccess(AccessConformance):
    @pytest.fixture
    def storage(self, alice: cos.CosAccount) -> ObjectStorage[TcWire]:
        type(self).secrets = (alice.secret_key,)
        return storage_of(alice)

    @pytest.fixture
    def wrong_credentials(self, alice: cos.CosAccount) -> list[ObjectStorage[TcWire]]:
        names = ("access_key_id", "secret_access_key")
        return [storage_of(alice, **{name: "AKIDwrongwrongwrong"}) for name in names]

    @pytest.fixture
    def no_credentials(self, alice: cos.CosAccount) -> ObjectStorage[TcWire]:
        return keyless(alice)

    @pytest.fixture
    def somebody_elses(self, alice: cos.CosAccount, bob: cos.CosAccount) -> ObjectStorage[TcWire]:
        return storage_of(alice, bob.make_bucket("bob-own-1250000000"))

    @pytest.fixture
    def sharing(self, alice: cos.CosAccount, bob: cos.CosAccount) -> Sharing:
        server, resources = alice.front.upstream, [f"arn:aws:s3:::{ALICES}/*"]
        return Sharing(
            source=storage_of(alice),
            destination=storage_of(bob, "bob-1250000000"),
            allow=lambda: server.allow("bob", "read-alice", ["s3:GetObject"], resources),
            withdraw=lambda: server.withdraw("bob", "read-alice"),
        )

    @pytest.fixture
    def elsewhere(self) -> ObjectStorage[TcWire]:
        return at("cos.ap-beijing.myqcloud.com")

    @pytest.fixture
    def nobody(self, alice: cos.CosAccount) -> ObjectStorage[TcWire]:
        return storage_of(alice, port=free_port())

    @pytest.fixture
    def without_tls(self, alice: cos.CosAccount) -> ObjectStorage[TcWire]:
        return storage_of(alice, use_ssl=True)

    @pytest.fixture
    def untrusted(self, alice: cos.CosAccount) -> Iterator[ObjectStorage[TcWire]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        with fault_proxy(alice.front.port, tls=context) as proxy:
            yield storage_of(alice, address="localhost", port=proxy.port, use_ssl=True)


def test_a_part_is_copied_across_users_only_with_a_policy(alice: cos.CosAccount, bob: cos.CosAccount) -> None:
    source, destination = storage_of(alice), storage_of(bob, "bob-1250000000")
    source.write("shared", [b"content"])
    with destination.multipart("copied") as upload, raised(PermissionDenied, bucket=ALICES):
        upload.copy_part(1, source, "shared", offset=0, length=7)
    source.delete(["shared"])


def test_regions_are_told_apart_by_their_addresses(alice: cos.CosAccount) -> None:
    here = at("cos.ap-nanjing.myqcloud.com")
    assert here.can_copy_from(at("cos-internal.ap-nanjing.tencentcos.cn"))
    for elsewhere in (at("cos.ap-beijing.myqcloud.com"), at("cos.example.com"), storage_of(alice)):
        assert not here.can_copy_from(elsewhere)


def test_a_session_token(alice: cos.CosAccount) -> None:
    key, secret, token = alice.temporary("static")
    keys = {"access_key_id": key, "secret_access_key": secret}
    write_and_read(storage_of(alice, session_token=token, **keys))
    for wrong in ("another", ""):
        with raised(AuthenticationFailed, bucket=ALICES):
            storage_of(alice, session_token=wrong, **keys).check()


@pytest.mark.parametrize("names", VARIABLES, ids=["COS", "TENCENTCLOUD"])
def test_keys_of_the_environment(
    alice: cos.CosAccount, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str, str]
) -> None:
    for name, value in zip(names, alice.temporary("environment"), strict=True):
        monkeypatch.setenv(name, value)
    write_and_read(keyless(alice))


def test_the_role_of_an_instance(alice: cos.CosAccount) -> None:
    keys = alice.temporary("instance")
    pages = {f"GET {ROLES}": "backup", f"GET {ROLES}backup": json.dumps(document(keys))}
    with answering(pages) as metadata:
        storage = keyless(alice, use_iam=True, iam_endpoint=metadata.url)
        write_and_read(storage)
        assert len(metadata.visits) == 2
    assert alice.front.seen[-1].headers["x-cos-security-token"] == keys[2]


def test_the_role_wins_over_keys(alice: cos.CosAccount) -> None:
    pages = {f"GET {ROLES}": "r", f"GET {ROLES}r": json.dumps(document(alice.temporary("winning")))}
    with answering(pages) as metadata:
        keys = {"access_key_id": "unused", "secret_access_key": "unused"}
        write_and_read(storage_of(alice, use_iam=True, iam_endpoint=metadata.url, **keys))


def test_a_roles_keys_are_replaced_before_they_expire(alice: cos.CosAccount) -> None:
    given = iter([document(alice.temporary("first"), 60), document(alice.temporary("second"))])
    pages = {f"GET {ROLES}": "r", f"GET {ROLES}r": lambda _: json.dumps(next(given))}
    with answering(pages) as metadata:
        storage = keyless(alice, use_iam=True, iam_endpoint=metadata.url)
        storage.check()
        assert "AKIDtmpfirst" in alice.front.seen[-1].headers["authorization"]
        storage.check()
        assert "AKIDtmpsecond" in alice.front.seen[-1].headers["authorization"]


@pytest.mark.parametrize("use_iam", [True, False])
def test_the_role_of_a_service_account(
    alice: cos.CosAccount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, use_iam: bool
) -> None:
    (tmp_path / "token").write_text("header.payload.signature\n")
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "token"))
    monkeypatch.setenv("TKE_ROLE_ARN", "qcs::cam::uin/1:roleName/backup")
    monkeypatch.setenv("TKE_PROVIDER_ID", "tke")
    monkeypatch.setenv("TKE_REGION", "ap-nanjing")
    given = document(alice.temporary("pod"))
    answer = {"Response": {"Credentials": given, "ExpiredTime": given.pop("ExpiredTime")}}
    with answering({"POST /": json.dumps(answer)}) as sts:
        write_and_read(keyless(alice, use_iam=use_iam, iam_endpoint=sts.url))
        [visit] = sts.visits
    assert visit.headers["x-tc-action"] == "AssumeRoleWithWebIdentity"
    assert visit.headers["x-tc-region"] == "ap-nanjing"
    asked = json.loads(visit.body)
    assert asked["WebIdentityToken"] == "header.payload.signature"
    assert asked["RoleArn"] == "qcs::cam::uin/1:roleName/backup"


def test_a_role_that_is_not_there(alice: cos.CosAccount) -> None:
    with answering({}) as metadata, raised(AuthenticationFailed, "role-credentials-missing", role="CAM role"):
        keyless(alice, use_iam=True, iam_endpoint=metadata.url).check()


def test_a_missing_bucket_is_made_only_on_request(alice: cos.CosAccount) -> None:
    storage = storage_of(alice, "alice-new-1250000000", root_path="backup")
    with raised(BucketNotFound, "bucket-missing", bucket="alice-new-1250000000"):
        storage.check()
    storage.check(create=True)
    storage.check()


def test_the_bucket_stands_in_the_host_name(alice: cos.CosAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{HOST}:{alice.front.port}")
    monkeypatch.setenv("no_proxy", "")
    address = "cos.ap-nanjing.myqcloud.com"
    write_and_read(storage_of(alice, address=address, port=80), "dir/odd key+&%?.#")
    assert alice.front.seen[-1].host == f"alice-1250000000.{address}"


def test_a_private_ca(alice: cos.CosAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    with fault_proxy(alice.front.port, tls=context) as proxy:
        values = {"address": "localhost", "port": proxy.port, "use_ssl": True}
        write_and_read(storage_of(alice, **values, ca_cert=str(tmp_path / "ca.pem")))
        with pytest.raises(MbkError):
            storage_of(alice, **{**values, "use_ssl": False}).check()
