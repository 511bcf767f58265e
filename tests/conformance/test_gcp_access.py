"""Who may reach a bucket of Google's, how, and what is said when it cannot be reached."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    MbkError,
    PermissionDenied,
    StorageUnavailable,
    UsageError,
)
from mbk.ports.storage import MIB, Storage
from mbk.testing import AccessConformance
from mbk.testing.access import Sharing
from mbk_gcp import mbk_storage_backends
from mbk_gcp.settings import GcpSettings
from tests.raising import raised
from tests.servers import s3
from tests.servers.faults import fault_proxy
from tests.servers.gcs import GcsServer, gcs
from tests.servers.gcs_accounts import Account
from tests.servers.process import HOST, free_port


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with gcs() as server:
        for bucket in ("alice-data", "bob-data"):
            server.make_bucket(bucket)
        yield server


@pytest.fixture(scope="module")
def alice(server: GcsServer) -> Account:
    return server.account("alice", "alice-*")


@pytest.fixture(scope="module")
def bob(server: GcsServer) -> Account:
    return server.account("bob", "bob-*")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def opened(server: GcsServer, bucket: str, **more: Any) -> Storage:
    [backend] = mbk_storage_backends()
    return backend.open(backend.settings()(**server.settings(bucket, **more)))


def write_and_read(storage: Storage, key: str = "some/key") -> None:
    storage.write(key, [b"content"], size=7)
    with storage.read(key) as chunks:
        assert b"".join(chunks) == b"content"
    assert [info.key for info in storage.list(key.rpartition("/")[0] + "/")] == [key]
    storage.delete([key])


class TestGcpAccess(AccessConformance):
    @pytest.fixture
    def storage(self, server: GcsServer, alice: Account, tmp_path: Path) -> Storage:
        file = server.key_file(alice, tmp_path)
        type(self).secrets = tuple(alice.key_file("")["private_key"].splitlines()[1:5])
        return opened(server, "alice-data", credentials_file=file)

    @pytest.fixture
    def wrong_credentials(
        self, server: GcsServer, alice: Account, bob: Account, tmp_path: Path
    ) -> list[Storage]:
        path = tmp_path / "wrong.json"
        document = alice.key_file(server.token_uri) | {"private_key": bob.key_file("")["private_key"]}
        path.write_text(json.dumps(document))
        ways = ({"credentials_file": str(path)}, {"session_token": "another"})
        return [opened(server, "alice-data", **way) for way in ways]

    @pytest.fixture
    def no_credentials(self, server: GcsServer) -> Storage:
        return opened(server, "alice-data")

    @pytest.fixture
    def somebody_elses(self, server: GcsServer, alice: Account) -> Storage:
        return opened(server, "bob-data", session_token=server.accounts.token(alice))

    @pytest.fixture
    def sharing(self, server: GcsServer, alice: Account, bob: Account) -> Sharing:
        return Sharing(
            source=opened(server, "alice-data", session_token=server.accounts.token(alice)),
            destination=opened(server, "bob-data", session_token=server.accounts.token(bob)),
            allow=lambda: bob.reads.add("alice-data"),
            withdraw=bob.reads.clear,
        )

    @pytest.fixture
    def elsewhere(self, server: GcsServer) -> Storage:
        return opened(server, "alice-data", address="", port=None)

    @pytest.fixture
    def nobody(self, server: GcsServer) -> Storage:
        return opened(server, "bucket", port=free_port(), session_token="token")

    @pytest.fixture
    def without_tls(self, server: GcsServer) -> Storage:
        return opened(server, "alice-data", use_ssl=True, session_token="token")

    @pytest.fixture
    def untrusted(self, server: GcsServer, alice: Account) -> Iterator[Storage]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        token = server.accounts.token(alice)
        with fault_proxy(server.port, tls=context) as proxy:
            values = {"address": "localhost", "port": proxy.port, "use_ssl": True, "session_token": token}
            yield opened(server, "alice-data", **values)


@pytest.mark.parametrize("more", [{}, {"use_iam": True, "access_key_id": "a", "secret_access_key": "b"}])
def test_the_file_that_the_environment_names(
    server: GcsServer, alice: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", server.key_file(alice, tmp_path))
    write_and_read(opened(server, "alice-data", **more))


def test_the_account_of_the_machine(server: GcsServer, alice: Account) -> None:
    """In a process of its own, because the SDK asks the environment when it is imported."""
    server.accounts.machine = alice
    code = (
        "import json, sys; from mbk_gcp.settings import GcpSettings; from mbk_gcp.storage import open_storage\n"
        "storage = open_storage(GcpSettings(**json.loads(sys.argv[1])))\n"
        "storage.write('machine', [b'x']); print(storage.stat('machine').size); storage.delete(['machine'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_GCE_CHECK"}
    environment |= dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP"), f"{HOST}:{server.port}")
    settings = json.dumps(server.settings("alice-data", use_iam=True))
    done = subprocess.run(
        [sys.executable, "-c", code, settings], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_token_that_ends_amid_a_run_is_renewed(server: GcsServer, alice: Account, tmp_path: Path) -> None:
    storage = opened(server, "alice-data", credentials_file=server.key_file(alice, tmp_path))
    write_and_read(storage)
    server.accounts.by_token.clear()
    before = len(server.requests)
    write_and_read(storage)
    asked = [path for _, path in server.requests[before:]]
    assert asked.count("/token") == 1
    # The refused request and its second try; a read, a listing, a batch and the delete in it.
    assert len(asked) == 1 + 2 + 4


def test_a_token_that_cannot_be_renewed_is_refused_at_once(server: GcsServer, alice: Account) -> None:
    storage = opened(server, "alice-data", session_token=server.accounts.token(alice))
    write_and_read(storage)
    server.accounts.by_token.clear()
    before = len(server.requests)
    with raised(AuthenticationFailed, bucket="alice-data") as caught:
        storage.check()
    assert (len(server.requests) - before, caught.value.retryable) == (1, False)


def test_a_token_of_the_settings_needs_no_library_of_googles(server: GcsServer, alice: Account) -> None:
    code = (
        "import json, sys; from mbk_gcp.settings import GcpSettings; from mbk_gcp.storage import open_storage\n"
        "open_storage(GcpSettings(**json.loads(sys.argv[1]))).check()\n"
        "print([name for name in ('google.auth', 'google.cloud', 'requests') if name in sys.modules])"
    )
    settings = json.dumps(server.settings("alice-data", session_token=server.accounts.token(alice)))
    done = subprocess.run([sys.executable, "-c", code, settings], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_ca_of_the_environment(
    server: GcsServer, alice: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
    with fault_proxy(server.port, tls=context) as proxy:
        values = {"address": "localhost", "port": proxy.port, "use_ssl": True}
        write_and_read(opened(server, "alice-data", session_token=server.accounts.token(alice), **values))


def test_a_proxy_of_the_environment(
    server: GcsServer, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_proxy(server.port) as proxy:
        monkeypatch.setenv("all_proxy", f"http://user:secret@{HOST}:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        values = {"address": "storage.invalid", "session_token": server.accounts.token(alice)}
        opened(server, "alice-data", **values).check()
        assert proxy.requests[0].target.startswith("http://storage.invalid")


def test_an_access_token(server: GcsServer, alice: Account) -> None:
    write_and_read(opened(server, "alice-data", session_token=server.accounts.token(alice)))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "key-file-damaged"),
        ("[]", "key-file-wrong"),
        ('{"type": "authorized_user"}', "key-file-wrong"),
        ('{"type": "service_account"}', "key-file-damaged"),
    ],
)
def test_a_file_that_is_no_key_file(server: GcsServer, tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    with raised(UsageError, code, file=str(path)):
        opened(server, "alice-data", credentials_file=str(path)).check()


def test_a_token_service_that_is_away_is_worth_another_try(
    server: GcsServer, alice: Account, tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(alice.key_file(f"http://{HOST}:{free_port()}/token")))
    with pytest.raises(StorageUnavailable):
        opened(server, "alice-data", credentials_file=str(path)).check()


def test_a_missing_bucket_is_made_only_on_request(server: GcsServer, alice: Account, tmp_path: Path) -> None:
    storage = opened(
        server, "alice-new", root_path="backup", credentials_file=server.key_file(alice, tmp_path)
    )
    with raised(BucketNotFound, "bucket-missing", bucket="alice-new"):
        storage.check()
    storage.check(create=True)
    storage.check()


def test_a_bucket_is_made_in_a_project(
    server: GcsServer, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.accounts.token(alice)
    with raised(UsageError, "project-missing", bucket="alice-other"):
        opened(server, "alice-other", session_token=token).check(create=True)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
    opened(server, "alice-other", session_token=token).check(create=True)
    assert "alice-other" in server.store.buckets


def test_the_bucket_of_somebody_else_is_denied_in_every_way(server: GcsServer, alice: Account) -> None:
    storage = opened(server, "bob-data", session_token=server.accounts.token(alice))
    for call in (
        lambda: storage.write("a", [b"x" * MIB] * 9),
        lambda: storage.write_if_absent("a", [b"x" * MIB] * 9),
        lambda: storage.multipart("a"),
        lambda: storage.clean(""),
    ):
        with raised(PermissionDenied, bucket="bob-data"):
            call()
    assert server.store.buckets["bob-data"].objects == {}


def test_a_copy_that_the_destination_denies_is_told_of_it(
    server: GcsServer, alice: Account, bob: Account
) -> None:
    source = opened(server, "bob-data", session_token=server.accounts.token(bob))
    destination = opened(server, "alice-data", session_token=server.accounts.token(bob))
    source.write("from", [b"x"])
    with raised(PermissionDenied) as caught:
        destination.copy(source, "from", "to")
    assert "alice-data" in str(caught.value)
    source.delete(["from"])


def test_hmac_keys_open_the_same_bucket_by_its_s3_dialect() -> None:
    keys = {"access_key_id": "GOOG1EXAMPLE", "secret_access_key": "secret"}
    [backend] = mbk_storage_backends()
    by_keys = backend.open(GcpSettings(bucket="alice-data", **keys))
    by_token = backend.open(GcpSettings(bucket="alice-data", session_token="token"))
    assert by_keys.location.same_bucket(by_token.location)
    assert by_keys.can_copy_from(by_token)
    assert by_token.can_copy_from(by_keys)
    assert not by_keys.capabilities.part_copy
    assert not by_keys.capabilities.conditional_write


def test_wrong_hmac_keys() -> None:
    with s3.ministack() as server:
        account = server.user("alice", "alice-*")
        account.make_bucket("alice-data")
        [backend] = mbk_storage_backends()
        values = account.settings("alice-data")
        write_and_read(backend.open(GcpSettings(**values)))
        with raised(AuthenticationFailed, bucket="alice-data") as caught:
            backend.open(GcpSettings(**values | {"secret_access_key": "wrong"})).check()
        assert account.secret_key not in str(caught.value)


def test_a_root_with_a_leading_slash(server: GcsServer, alice: Account) -> None:
    token = server.accounts.token(alice)
    storage = opened(server, "alice-data", session_token=token, root_path="/files/")
    storage.check()
    write_and_read(storage, f"{storage.location.root}insert_log/1/2")


def test_a_private_ca(server: GcsServer, alice: Account, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    values = {"address": "localhost", "use_ssl": True, "session_token": server.accounts.token(alice)}
    with fault_proxy(server.port, tls=context) as proxy:
        values["port"] = proxy.port
        write_and_read(opened(server, "alice-data", **values, ca_cert=str(tmp_path / "ca.pem")))
        with pytest.raises(MbkError):
            opened(server, "alice-data", **{**values, "use_ssl": False}).check()
