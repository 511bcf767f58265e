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
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from mbk.errors import (
    AccessError,
    AuthenticationFailed,
    BucketNotFound,
    MbkError,
    ObjectNotFound,
    PermissionDenied,
    StorageUnavailable,
    Unreachable,
    UsageError,
)
from mbk.ports.storage import MIB
from mbk_azure import signing
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import AzureStorage
from tests.servers.azure_identity import managed_identity
from tests.servers.azurite import Account, Accounts, Tls, azurite
from tests.servers.process import HOST, free_port

BUCKET = "data"


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


def with_key(account: Account, bucket: str = BUCKET, **more: Any) -> AzureStorage:
    return AzureStorage(AzureSettings(**account.settings(bucket, **more)))


def keyless(account: Account, bucket: str = BUCKET, **more: Any) -> AzureStorage:
    return AzureStorage(AzureSettings(**account.keyless(bucket, **more)))


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


# -- credentials ---------------------------------------------------------------------------------------------------


def test_a_shared_key(accounts: Accounts) -> None:
    write_and_read(with_key(accounts["alpha"]))


def test_a_connection_string(accounts: Accounts) -> None:
    account = accounts["alpha"]
    text = f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.url};"
    storage = AzureStorage(AzureSettings(bucket=BUCKET, connection_string=text))
    write_and_read(storage)
    assert storage.location.same_bucket(with_key(account).location)


def test_a_connection_string_with_a_signature(accounts: Accounts) -> None:
    account = accounts["alpha"]
    text = f"BlobEndpoint={account.url}/;SharedAccessSignature={sas(account)}"
    write_and_read(AzureStorage(AzureSettings(bucket=BUCKET, connection_string=text)))


@pytest.mark.parametrize("begin", ["", "?"])
def test_a_sas_token(accounts: Accounts, begin: str) -> None:
    account = accounts["alpha"]
    write_and_read(keyless(account, sas_token=begin + sas(account)))


def test_a_sas_token_may_do_only_what_it_says(accounts: Accounts) -> None:
    account = accounts["alpha"]
    storage = keyless(account, sas_token=sas(account, "rl"))
    storage.check()
    with pytest.raises(AccessError, match="'data' of account 'alpha'"):
        storage.write("a", [b"x"])


def test_the_identity_of_the_machine(secure: Accounts, identity: None) -> None:
    write_and_read(keyless(secure["alpha"], use_iam=True))
    write_and_read(keyless(secure["alpha"]))


def test_the_identity_wins_over_a_key(secure: Accounts, identity: None) -> None:
    write_and_read(keyless(secure["alpha"], use_iam=True, account_key="AAAA"))


def test_no_identity_at_all(secure: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(AuthenticationFailed, match=r"'data' of account 'alpha'.*AZURE_"):
        keyless(secure["alpha"]).check()


def test_a_token_is_not_sent_over_plain_http(accounts: Accounts, identity: None) -> None:
    with pytest.raises(UsageError, match="useSSL"):
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
        assert "container 'data' of account 'alpha'" in str(caught.value)
        assert wrong not in everything_told(caught.value)
    assert list(with_key(account).list()) == []


def test_an_account_that_is_not_there(accounts: Accounts) -> None:
    with pytest.raises(MbkError, match="account 'gamma'"):
        with_key(accounts["alpha"], account_name="gamma").check()


def test_a_missing_container_is_made_only_on_request(accounts: Accounts) -> None:
    storage = with_key(accounts["alpha"], "made-on-request", root_path="backup")
    with pytest.raises(BucketNotFound, match="'made-on-request' of account 'alpha'"):
        storage.check()
    storage.check(create=True)
    storage.check()
    storage.check(create=True)


# -- network -------------------------------------------------------------------------------------------------------


def test_a_private_authority(secure: Accounts) -> None:
    write_and_read(with_key(secure["alpha"]))


def test_a_certificate_that_nobody_vouches_for(secure: Accounts) -> None:
    with pytest.raises(Unreachable, match="CA certificate") as caught:
        with_key(secure["alpha"], ca_cert="").check()
    assert not caught.value.retryable


def test_nobody_listens(accounts: Accounts) -> None:
    storage = with_key(accounts["alpha"].behind(free_port()))
    with pytest.raises(StorageUnavailable, match=r"refused.*the port"):
        storage.check()


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
    assert source.container
    assert source._service
    asked = []
    real = source._service.get_user_delegation_key
    monkeypatch.setattr(
        source._service, "get_user_delegation_key", lambda *when: asked.append(1) or real(*when)
    )
    urls = {source.signed_url(f"key-{number}").partition("?")[2] for number in range(5)}
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
        with pytest.raises(PermissionDenied, match=f"'data' of account '{theirs}'"):
            destination.copy(source, "from", "to")
        with destination.multipart("to") as upload, pytest.raises(PermissionDenied, match=theirs):
            upload.copy_part(1, source, "from", offset=0, length=1)
        assert list(destination.list()) == []
        with_key(accounts[theirs]).delete(["from"])


def test_a_wrong_key_of_the_destination_is_told_as_its_own(accounts: Accounts) -> None:
    source = with_key(accounts["beta"])
    source.write("from", [b"x"])
    destination = with_key(accounts["alpha"], account_key=accounts["beta"].key)
    with pytest.raises(AccessError, match="'data' of account 'alpha'"):
        destination.copy(source, "from", "to")
    source.delete(["from"])


def test_a_signature_that_may_not_read_copies_nothing(accounts: Accounts) -> None:
    account = accounts["beta"]
    with_key(account).write("from", [b"x"])
    source = keyless(account, sas_token=sas(account, "l"))
    with pytest.raises(PermissionDenied, match="account 'beta'"):
        with_key(accounts["alpha"]).copy(source, "from", "to")
    with_key(account).delete(["from"])


def test_a_signature_is_for_one_object_and_an_hour(accounts: Accounts) -> None:
    url = with_key(accounts["alpha"]).signed_url("a b")
    parts = dict(pair.split("=", 1) for pair in url.partition("?")[2].split("&"))
    assert (parts["sp"], parts["sr"]) == ("r", "b")
    until = datetime.strptime(parts["se"].replace("%3A", ":"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) < until - datetime.now(UTC) <= signing.VALID


# -- secrets -------------------------------------------------------------------------------------------------------


def test_a_signature_is_in_no_log_and_no_error(
    accounts: Accounts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("azure", "azure.core", "azure.storage", "urllib3", "urllib3.connectionpool"):
        caplog.set_level(logging.DEBUG, logger=name)
    signed: list[str] = []
    real = signing.Signer.sign
    monkeypatch.setattr(signing.Signer, "sign", lambda *this: signed.append(real(*this)) or signed[-1])
    token = sas(accounts["beta"])
    by_token = keyless(accounts["beta"], sas_token=token)
    by_key, destination = with_key(accounts["beta"]), with_key(accounts["alpha"])
    unreachable = keyless(accounts["beta"].behind(free_port()), sas_token=token)
    by_key.write("from", [b"x"])
    told = [repr(by_token), repr(by_token.settings), repr(by_token.settings.connection)]
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
    signatures = {part for query in [*signed, token] for part in query.split("&") if part[:4] == "sig="}
    assert len(signatures) > 2
    assert caplog.records
    assert [text for text in told for signature in signatures if signature[4:] in text] == []
    assert [text for text in told for one in accounts.values() if one.key in text] == []
