"""Who may reach an OSS bucket, how, and what is said when it cannot be reached."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from mbk.errors import AuthenticationFailed, BucketNotFound, MbkError, PermissionDenied
from mbk.plugin.objects import ObjectStorage
from mbk.testing import AccessConformance
from mbk.testing.access import Sharing
from mbk_ali.credentials import ROLES, VARIABLES
from mbk_ali.settings import AliSettings
from mbk_ali.storage import open_storage
from mbk_ali.wire import AliWire
from tests.raising import raised
from tests.servers import oss
from tests.servers.documents import Visit, answering
from tests.servers.faults import fault_proxy
from tests.servers.process import HOST, free_port

SIGNATURES = pytest.mark.parametrize("region", ["", oss.OSS_REGION], ids=["V1", "V4"])


@pytest.fixture(scope="module")
def front() -> Iterator[oss.OssFront]:
    with oss.oss() as front:
        yield front


@pytest.fixture(scope="module")
def alice(front: oss.OssFront) -> oss.OssAccount:
    account = front.user("alice", "alice-*")
    account.make_bucket("alice-data")
    return account


@pytest.fixture(scope="module")
def bob(front: oss.OssFront) -> oss.OssAccount:
    account = front.user("bob", "bob-*")
    account.make_bucket("bob-data")
    return account


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES[0], *VARIABLES[1], "ALIBABA_CLOUD_OIDC_TOKEN_FILE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def storage_of(account: oss.OssAccount, bucket: str = "alice-data", **more: Any) -> ObjectStorage[AliWire]:
    return open_storage(AliSettings(**account.settings(bucket, **more)))


def keyless(account: oss.OssAccount, **more: Any) -> ObjectStorage[AliWire]:
    return storage_of(account, **{"access_key_id": "", "secret_access_key": "", **more})


def at(address: str) -> ObjectStorage[AliWire]:
    return open_storage(AliSettings(bucket="alice-data", address=address))


def write_and_read(storage: ObjectStorage[AliWire], key: str = "some/key") -> None:
    storage.write(key, [b"content"], size=7)
    with storage.read(key) as chunks:
        assert b"".join(chunks) == b"content"
    assert [info.key for info in storage.list(key.rpartition("/")[0] + "/")] == [key]
    storage.delete([key])


def in_time(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def document(keys: tuple[str, str, str], **ahead: float) -> dict[str, str]:
    """Temporary credentials in the metadata service's words."""
    return {
        "Code": "Success",
        "AccessKeyId": keys[0],
        "AccessKeySecret": keys[1],
        "SecurityToken": keys[2],
        "Expiration": in_time(**(ahead or {"hours": 1})),
    }


class OssAccess(AccessConformance):
    """Subclasses choose the signature."""

    region = ""

    @pytest.fixture
    def storage(self, alice: oss.OssAccount) -> ObjectStorage[AliWire]:
        type(self).secrets = (alice.secret_key,)
        return storage_of(alice, region=self.region)

    @pytest.fixture
    def wrong_credentials(self, alice: oss.OssAccount) -> list[ObjectStorage[AliWire]]:
        names = ("access_key_id", "secret_access_key")
        return [storage_of(alice, region=self.region, **{name: "LTAIwrongwrongwrong"}) for name in names]

    @pytest.fixture
    def no_credentials(self, alice: oss.OssAccount) -> ObjectStorage[AliWire]:
        return keyless(alice, region=self.region)

    @pytest.fixture
    def somebody_elses(self, alice: oss.OssAccount, bob: oss.OssAccount) -> ObjectStorage[AliWire]:
        return storage_of(alice, bob.make_bucket("bob-own"), region=self.region)

    @pytest.fixture
    def sharing(self, alice: oss.OssAccount, bob: oss.OssAccount) -> Sharing:
        server = alice.front.upstream
        return Sharing(
            source=storage_of(alice, region=self.region),
            destination=storage_of(bob, "bob-data", region=self.region),
            allow=lambda: server.allow("bob", "read-alice", ["s3:GetObject"], ["arn:aws:s3:::alice-data/*"]),
            withdraw=lambda: server.withdraw("bob", "read-alice"),
        )

    @pytest.fixture
    def elsewhere(self) -> ObjectStorage[AliWire]:
        return at("oss-cn-beijing.aliyuncs.com")

    @pytest.fixture
    def nobody(self, alice: oss.OssAccount) -> ObjectStorage[AliWire]:
        return storage_of(alice, port=free_port())

    @pytest.fixture
    def without_tls(self, alice: oss.OssAccount) -> ObjectStorage[AliWire]:
        return storage_of(alice, use_ssl=True)

    @pytest.fixture
    def untrusted(self, alice: oss.OssAccount) -> Iterator[ObjectStorage[AliWire]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        with fault_proxy(alice.front.port, tls=context) as proxy:
            yield storage_of(alice, address="localhost", port=proxy.port, use_ssl=True)


class TestOssAccess(OssAccess):
    region = oss.OSS_REGION


class TestOssAccessWithSignatureV1(OssAccess):
    pass


@SIGNATURES
def test_a_part_is_copied_across_users_only_with_a_policy(
    alice: oss.OssAccount, bob: oss.OssAccount, region: str
) -> None:
    source, destination = storage_of(alice, region=region), storage_of(bob, "bob-data", region=region)
    source.write("shared", [b"content"])
    with destination.multipart("copied") as upload, raised(PermissionDenied, bucket="alice-data"):
        upload.copy_part(1, source, "shared", offset=0, length=7)
    source.delete(["shared"])


def test_regions_are_told_apart_by_their_addresses(alice: oss.OssAccount) -> None:
    here = at("oss-cn-hangzhou.aliyuncs.com")
    assert here.can_copy_from(at("oss-cn-hangzhou-internal.aliyuncs.com"))
    for elsewhere in (at("oss-cn-beijing.aliyuncs.com"), at("oss.example.com"), storage_of(alice)):
        assert not here.can_copy_from(elsewhere)


@SIGNATURES
def test_static_keys(alice: oss.OssAccount, region: str) -> None:
    write_and_read(storage_of(alice, region=region))
    sent = alice.front.seen[-1].headers["authorization"]
    assert sent.startswith("OSS4-HMAC-SHA256 " if region else f"OSS {alice.access_key}:")


def test_a_wrong_region_is_told_as_such(alice: oss.OssAccount) -> None:
    with raised(AuthenticationFailed, bucket="alice-data") as caught:
        storage_of(alice, region="cn-beijing").check()
    assert "region" in (caught.value.hint or "")


@SIGNATURES
def test_a_session_token(alice: oss.OssAccount, region: str) -> None:
    key, secret, token = alice.temporary("static")
    keys = {"access_key_id": key, "secret_access_key": secret, "region": region}
    write_and_read(storage_of(alice, session_token=token, **keys))
    for wrong in ("another", ""):
        with raised(AuthenticationFailed, bucket="alice-data"):
            storage_of(alice, session_token=wrong, **keys).check()


@pytest.mark.parametrize("names", VARIABLES, ids=["OSS", "ALIBABA_CLOUD"])
def test_keys_of_the_environment(
    alice: oss.OssAccount, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str, str]
) -> None:
    for name, value in zip(names, alice.temporary("environment"), strict=True):
        monkeypatch.setenv(name, value)
    write_and_read(keyless(alice))


@pytest.mark.parametrize("hardened", [True, False])
def test_the_role_of_an_instance(alice: oss.OssAccount, hardened: bool) -> None:
    keys = alice.temporary("instance")

    def guarded(text: str) -> Any:
        def page(visit: Visit) -> str | None:
            return text if not hardened or visit.headers.get("x-aliyun-ecs-metadata-token") == "t" else None

        return page

    pages = {f"GET {ROLES}": guarded("backup"), f"GET {ROLES}backup": guarded(json.dumps(document(keys)))}
    if hardened:
        pages["PUT /latest/api/token"] = "t"
    with answering(pages) as metadata:
        storage = keyless(alice, use_iam=True, iam_endpoint=metadata.url)
        write_and_read(storage)
        asked = len(metadata.visits)
        write_and_read(storage)
        assert len(metadata.visits) == asked
    assert alice.front.seen[-1].headers["x-oss-security-token"] == keys[2]


def test_the_role_wins_over_keys(alice: oss.OssAccount) -> None:
    pages = {f"GET {ROLES}": "r", f"GET {ROLES}r": json.dumps(document(alice.temporary("winning")))}
    with answering(pages) as metadata:
        keys = {"access_key_id": "unused", "secret_access_key": "unused"}
        write_and_read(storage_of(alice, use_iam=True, iam_endpoint=metadata.url, **keys))


def test_a_roles_keys_are_replaced_before_they_expire(alice: oss.OssAccount) -> None:
    given = iter([document(alice.temporary("first"), seconds=60), document(alice.temporary("second"))])
    pages = {f"GET {ROLES}": "r", f"GET {ROLES}r": lambda _: json.dumps(next(given))}
    with answering(pages) as metadata:
        storage = keyless(alice, use_iam=True, iam_endpoint=metadata.url, region=oss.OSS_REGION)
        storage.check()
        assert "STS.first" in alice.front.seen[-1].headers["authorization"]
        storage.check()
        assert "STS.second" in alice.front.seen[-1].headers["authorization"]


@pytest.mark.parametrize("use_iam", [True, False])
def test_the_role_of_a_service_account(
    alice: oss.OssAccount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, use_iam: bool
) -> None:
    (tmp_path / "token").write_text("header.payload.signature\n")
    monkeypatch.setenv("ALIBABA_CLOUD_OIDC_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/backup")
    monkeypatch.setenv("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/ack")
    answer = json.dumps({"Credentials": document(alice.temporary("pod"))})
    with answering({"POST /": answer}) as sts:
        write_and_read(keyless(alice, use_iam=use_iam, iam_endpoint=sts.url))
        [visit] = sts.visits
    assert "Action=AssumeRoleWithOIDC" in visit.path
    asked = parse_qs(visit.body)
    assert asked["OIDCToken"] == ["header.payload.signature"]
    assert asked["RoleArn"] == ["acs:ram::1:role/backup"]


def test_a_role_that_is_not_there(alice: oss.OssAccount) -> None:
    with answering({}) as metadata, raised(AuthenticationFailed, "role-credentials-missing", role="RAM role"):
        keyless(alice, use_iam=True, iam_endpoint=metadata.url).check()


def test_a_missing_bucket_is_made_only_on_request(alice: oss.OssAccount) -> None:
    storage = storage_of(alice, "alice-new", root_path="backup")
    with raised(BucketNotFound, "bucket-missing", bucket="alice-new"):
        storage.check()
    storage.check(create=True)
    storage.check()


@SIGNATURES
def test_the_bucket_stands_in_the_host_name(
    alice: oss.OssAccount, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{HOST}:{alice.front.port}")
    monkeypatch.setenv("no_proxy", "")
    address = "oss-cn-hangzhou.aliyuncs.com" if region else "oss.example.com"
    write_and_read(storage_of(alice, address=address, port=80), "dir/odd key+&%?.#")
    assert alice.front.seen[-1].host == f"alice-data.{address}"


def test_a_private_ca(alice: oss.OssAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
