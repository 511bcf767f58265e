"""Who may reach an Azure container, how, and what is said when it cannot be reached; copies across accounts."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.storage.blob import (
    AccessPolicy,
    ContainerSasPermissions,
    generate_container_sas,
)

from mbk.errors import (
    AccessError,
    BucketNotFound,
    MbkError,
    ObjectNotFound,
    PermissionDenied,
    UsageError,
)
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import MIB
from mbk.testing import AccessConformance
from mbk.testing.access import Sharing
from mbk_azure import signing
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import open_storage
from mbk_azure.wire import AzureWire
from tests.raising import raised
from tests.servers.azure_identity import managed_identity
from tests.servers.azurite import Account, Accounts, Tls, azurite
from tests.servers.faults import FaultProxy, fault_proxy
from tests.servers.process import HOST, free_port

BUCKET = "data"
AzureStorage = ObjectStorage[AzureWire]


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    with azurite() as accounts:
        for account in accounts.values():
            account.make_bucket(BUCKET)
        yield accounts


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    files = Tls(directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
    authority.cert_pem.write_to_path(files.ca)
    certificate.private_key_pem.write_to_path(files.key)
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(files.certificate, append=True)
    return files


@pytest.fixture(scope="module")
def secure(tls: Tls) -> Iterator[Accounts]:
    with azurite(tls=tls) as accounts:
        for account in accounts.values():
            account.make_bucket(BUCKET)
        yield accounts


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "FEDERATED_TOKEN_FILE", "USERNAME"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    # Of the chain only the machine's identity, so that no developer's login and no metadata address is asked.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with managed_identity() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.fixture
def proxy(accounts: Accounts) -> Iterator[FaultProxy]:
    with fault_proxy(accounts["alpha"].port) as proxy:
        yield proxy


def with_key(account: Account, bucket: str = BUCKET, **more: Any) -> AzureStorage:
    return open_storage(AzureSettings(**account.settings(bucket, **more)))


def keyless(account: Account, bucket: str = BUCKET, **more: Any) -> AzureStorage:
    return open_storage(AzureSettings(**account.keyless(bucket, **more)))


def sas_of_a_policy(account: Account) -> tuple[str, Callable[[str], None]]:
    """A signature whose rights stand in the container's access policy, and what changes them."""

    def grant(rights: str) -> None:
        policy = AccessPolicy(
            permission=ContainerSasPermissions.from_string(rights),
            start=datetime.now(UTC) - timedelta(hours=1),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        with account.client().get_container_client(BUCKET) as container:
            container.set_container_access_policy({"mbk": policy})

    grant("cwdl")
    return generate_container_sas(account.name, BUCKET, account_key=account.key, policy_id="mbk"), grant


def sas(account: Account, rights: str = "racwdl", bucket: str = BUCKET) -> str:
    return generate_container_sas(
        account.name,
        bucket,
        account_key=account.key,
        permission=ContainerSasPermissions.from_string(rights),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


def write_and_read(storage: AzureStorage, key: str = "some/key") -> None:
    storage.write(key, [b"content"], size=7)
    with storage.read(key) as chunks:
        assert b"".join(chunks) == b"content"
    assert [info.key for info in storage.list(key.rpartition("/")[0] + "/")] == [key]
    storage.delete([key])
    assert list(storage.list(key.rpartition("/")[0] + "/")) == []


def everything_told(error: BaseException) -> str:
    """The error as it can be seen: its text, its fields, and the chain below it."""
    told = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        told += [repr(seen), repr(seen.args), repr({k: v for k, v in vars(seen).items() if type(v) is str})]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(told)


class TestAzureAccess(AccessConformance):
    @pytest.fixture
    def storage(self, accounts: Accounts) -> AzureStorage:
        type(self).secrets = (accounts["alpha"].key,)
        return with_key(accounts["alpha"])

    @pytest.fixture
    def wrong_credentials(self, accounts: Accounts) -> list[AzureStorage]:
        return [with_key(accounts["alpha"], account_key=accounts["beta"].key)]

    @pytest.fixture
    def no_credentials(self, secure: Accounts, monkeypatch: pytest.MonkeyPatch) -> AzureStorage:
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
        return keyless(secure["alpha"])

    @pytest.fixture
    def sharing(self, accounts: Accounts) -> Sharing:
        """The source signs what the service of the destination reads, so it is its signature that may not."""
        account = accounts["beta"]
        token, grant = sas_of_a_policy(account)
        return Sharing(
            source=keyless(account, sas_token=token),
            destination=with_key(accounts["alpha"]),
            allow=lambda: grant("rcwdl"),
            withdraw=lambda: grant("cwdl"),
        )

    @pytest.fixture
    def nobody(self, accounts: Accounts) -> AzureStorage:
        return with_key(accounts["alpha"].behind(free_port()))

    @pytest.fixture
    def without_tls(self, accounts: Accounts) -> AzureStorage:
        return with_key(accounts["alpha"], use_ssl=True)

    @pytest.fixture
    def untrusted(self, secure: Accounts) -> AzureStorage:
        return with_key(secure["alpha"], ca_cert="")


# -- credentials ---------------------------------------------------------------------------------------------------


def test_a_connection_string(accounts: Accounts) -> None:
    account = accounts["alpha"]
    text = f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.url};"
    storage = open_storage(AzureSettings(bucket=BUCKET, connection_string=text))
    write_and_read(storage)
    assert storage.location.same_bucket(with_key(account).location)


def test_a_connection_string_with_a_signature(accounts: Accounts) -> None:
    account = accounts["alpha"]
    text = f"BlobEndpoint={account.url}/;SharedAccessSignature={sas(account)}"
    write_and_read(open_storage(AzureSettings(bucket=BUCKET, connection_string=text)))


@pytest.mark.parametrize("begin", ["", "?"])
def test_a_sas_token(accounts: Accounts, begin: str) -> None:
    account = accounts["alpha"]
    write_and_read(keyless(account, sas_token=begin + sas(account)))


def test_a_sas_token_may_do_only_what_it_says(accounts: Accounts) -> None:
    account = accounts["alpha"]
    storage = keyless(account, sas_token=sas(account, "rl"))
    storage.check()
    with raised(AccessError, bucket=BUCKET, account="alpha"):
        storage.write("a", [b"x"])


def test_the_identity_of_the_machine(secure: Accounts, identity: None) -> None:
    write_and_read(keyless(secure["alpha"], use_iam=True))
    write_and_read(keyless(secure["alpha"]))


def test_the_identity_wins_over_a_key(secure: Accounts, identity: None) -> None:
    write_and_read(keyless(secure["alpha"], use_iam=True, account_key="AAAA"))


def test_a_token_is_not_sent_over_plain_http(accounts: Accounts, identity: None) -> None:
    with raised(UsageError, "token-needs-tls", account="alpha"):
        keyless(accounts["alpha"], use_iam=True).check()


def test_an_authority_of_its_own_is_asked(secure: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"AZURE_{name}", "ab1f708d-50f6-404c-a006-d71b2ac7a606")
    nowhere = f"{HOST}:{free_port()}"
    with pytest.raises(MbkError) as caught:
        keyless(secure["alpha"], iam_endpoint=f"https://{nowhere}").check()
    assert nowhere.partition(":")[2] in everything_told(caught.value)


def test_a_wrong_key_names_the_account_and_the_container(accounts: Accounts) -> None:
    account, wrong = accounts["alpha"], accounts["beta"].key
    storage = with_key(account, account_key=wrong)
    for call in (storage.check, lambda: storage.write("a", [b"x"]), lambda: storage.stat("a")):
        with pytest.raises(AccessError) as caught:
            call()
        assert caught.value.facts["account"] == "alpha"
        assert wrong not in everything_told(caught.value)
    assert list(with_key(account).list()) == []


def test_an_account_that_is_not_there(accounts: Accounts) -> None:
    with raised(MbkError, account="gamma"):
        with_key(accounts["alpha"], account_name="gamma").check()


def test_a_missing_container_is_made_only_on_request(accounts: Accounts) -> None:
    storage = with_key(accounts["alpha"], "made-on-request", root_path="backup")
    with raised(BucketNotFound, "bucket-missing", bucket="made-on-request", account="alpha"):
        storage.check()
    storage.check(create=True)
    storage.check()
    storage.check(create=True)


# -- network -------------------------------------------------------------------------------------------------------


def test_a_private_authority(secure: Accounts) -> None:
    write_and_read(with_key(secure["alpha"]))


# -- across accounts -----------------------------------------------------------------------------------------------


def both_ways(
    accounts: Accounts, opened: Callable[[Account], AzureStorage]
) -> list[tuple[AzureStorage, AzureStorage]]:
    one, other = opened(accounts["alpha"]), opened(accounts["beta"])
    return [(one, other), (other, one)]


def copy_and_compare(source: AzureStorage, destination: AzureStorage) -> None:
    data = bytes(range(256)) * 100
    source.write("odd %+ä/from", [data])
    assert destination.can_copy_from(source)
    destination.copy(source, "odd %+ä/from", "to")
    with destination.read("to") as chunks:
        assert b"".join(chunks) == data
    destination.delete(["to"])
    source.delete(["odd %+ä/from"])


def test_the_key_of_the_source_signs(accounts: Accounts) -> None:
    for source, destination in both_ways(accounts, with_key):
        copy_and_compare(source, destination)


def test_the_signature_of_the_source_is_passed_on(accounts: Accounts) -> None:
    for source, destination in both_ways(accounts, lambda one: keyless(one, sas_token=sas(one))):
        copy_and_compare(source, destination)


def test_the_identity_of_the_source_signs(secure: Accounts, identity: None) -> None:
    for source, destination in both_ways(secure, lambda one: keyless(one, use_iam=True)):
        copy_and_compare(source, destination)


def test_one_delegation_key_signs_many_copies(
    secure: Accounts, identity: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = keyless(secure["alpha"], use_iam=True)
    service = source.wrapped.service
    asked = []
    real = service.get_user_delegation_key
    monkeypatch.setattr(service, "get_user_delegation_key", lambda *when: asked.append(1) or real(*when))
    urls = {source.wrapped.signed_url(f"key-{number}").partition("?")[2] for number in range(5)}
    assert (len(urls), len(asked)) == (5, 1)


def test_blocks_are_staged_across_accounts(accounts: Accounts) -> None:
    data = bytes(range(256)) * (2 * MIB // 256)
    for source, destination in both_ways(accounts, with_key):
        source.write("odd %+ä/from", [data])
        with destination.multipart("to") as upload:
            upload.copy_part(2, source, "odd %+ä/from", offset=MIB, length=MIB)
            upload.copy_part(1, source, "odd %+ä/from", offset=0, length=MIB)
            assert upload.complete().size == 2 * MIB
        with destination.read("to") as chunks:
            assert b"".join(chunks) == data
        destination.delete(["to"])
        source.delete(["odd %+ä/from"])


def test_a_wrong_key_of_the_source_copies_nothing(accounts: Accounts) -> None:
    for ours, theirs in (("alpha", "beta"), ("beta", "alpha")):
        with_key(accounts[theirs]).write("from", [b"x"])
        destination = with_key(accounts[ours])
        source = with_key(accounts[theirs], account_key=accounts[ours].key)
        with raised(PermissionDenied, bucket=BUCKET, account=theirs):
            destination.copy(source, "from", "to")
        with destination.multipart("to") as upload, raised(PermissionDenied, account=theirs):
            upload.copy_part(1, source, "from", offset=0, length=1)
        assert list(destination.list()) == []
        with_key(accounts[theirs]).delete(["from"])


def test_what_is_wrong_with_the_destination_is_told_of_it(accounts: Accounts) -> None:
    source = with_key(accounts["beta"])
    source.write("from", [b"x"])
    stranger = with_key(accounts["alpha"], account_key=accounts["beta"].key)
    with raised(AccessError) as caught:
        stranger.copy(source, "from", "to")
    assert "'data' of account 'alpha'" in str(caught.value)
    with raised(BucketNotFound, "bucket-missing", bucket="not-there"):
        with_key(accounts["alpha"], "not-there").copy(source, "from", "to")
    upload = with_key(accounts["alpha"], "not-there").multipart("to")
    with raised(BucketNotFound, "bucket-missing", bucket="not-there"):
        upload.copy_part(1, source, "from", offset=0, length=1)
    source.delete(["from"])


def test_a_signature_is_for_one_object_and_an_hour(accounts: Accounts) -> None:
    url = with_key(accounts["alpha"]).wrapped.signed_url("a b")
    parts = dict(pair.split("=", 1) for pair in url.partition("?")[2].split("&"))
    assert (parts["sp"], parts["sr"]) == ("r", "b")
    until = datetime.strptime(parts["se"].replace("%3A", ":"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) < until - datetime.now(UTC) <= signing.VALID


# -- secrets -------------------------------------------------------------------------------------------------------


def test_a_signature_is_in_no_log_and_no_error(
    accounts: Accounts, caplog: pytest.LogCaptureFixture, proxy: FaultProxy
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("azure", "azure.core", "azure.storage", "urllib3", "urllib3.connectionpool"):
        caplog.set_level(logging.DEBUG, logger=name)
    token = sas(accounts["beta"])
    alpha, beta = (accounts[name].behind(proxy.port) for name in ("alpha", "beta"))
    by_token, by_key, destination = keyless(beta, sas_token=token), with_key(beta), with_key(alpha)
    unreachable = keyless(accounts["beta"].behind(free_port()), sas_token=token)
    by_key.write("from", [b"x"])
    told = [repr(by_token), repr(by_token.wrapped.settings), repr(by_token.wrapped.settings.connection)]
    for source in (by_key, by_token):
        destination.copy(source, "from", "to")
        with destination.multipart("parts") as upload:
            upload.copy_part(1, source, "from", offset=0, length=1)
            told.append(repr(upload))
        with pytest.raises(ObjectNotFound) as missing:
            destination.copy(source, "nothing", "to")
        told.append(everything_told(missing.value))
    for failing in (
        unreachable.check,
        lambda: unreachable.stat("a"),
        lambda: destination.copy(unreachable, "a", "b"),
        lambda: by_token.stat("nothing"),
    ):
        with pytest.raises(MbkError) as caught:
            failing()
        told.append(everything_told(caught.value))
    told += [record.getMessage() for record in caplog.records]
    told += [repr(record.args) for record in caplog.records]
    destination.delete(["to"])
    by_key.delete(["from"])
    signed = [one.headers.get("x-ms-copy-source", "").partition("?")[2] for one in proxy.requests]
    signatures = {part for query in [*signed, token] for part in query.split("&") if part[:4] == "sig="}
    assert len(signatures) > 2
    assert caplog.records
    assert [text for text in told for signature in signatures if signature[4:] in text] == []
    assert [text for text in told for one in accounts.values() if one.key in text] == []
