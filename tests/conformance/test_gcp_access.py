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
    Unreachable,
    UsageError,
)
from mbk.ports.storage import Storage
from mbk_gcp import mbk_storage_backends
from mbk_gcp.settings import GcpSettings
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


def test_the_key_file_of_a_service_account(server: GcsServer, alice: Account, tmp_path: Path) -> None:
    write_and_read(opened(server, "alice-data", credentials_file=server.key_file(alice, tmp_path)))


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
        "import json, sys; from mbk_gcp.settings import GcpSettings; from mbk_gcp.storage import GcpStorage\n"
        "storage = GcpStorage(GcpSettings(**json.loads(sys.argv[1])))\n"
        "storage.write('machine', [b'x']); print(storage.stat('machine').size); storage.delete(['machine'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_GCE_CHECK"}
    environment |= dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP"), f"{HOST}:{server.port}")
    settings = json.dumps(server.settings("alice-data", use_iam=True))
    done = subprocess.run(
        [sys.executable, "-c", code, settings], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_an_access_token(server: GcsServer, alice: Account) -> None:
    write_and_read(opened(server, "alice-data", session_token=server.accounts.token(alice)))
    with pytest.raises(AuthenticationFailed, match="'alice-data' at 127"):
        opened(server, "alice-data", session_token="another").check()


def test_no_credentials_at_all(server: GcsServer) -> None:
    with pytest.raises(AuthenticationFailed, match="gcpCredentialJSON"):
        opened(server, "alice-data").check()


def test_a_wrong_key_names_the_bucket_and_shows_nothing_of_it(
    server: GcsServer, alice: Account, bob: Account, tmp_path: Path
) -> None:
    document = alice.key_file(server.token_uri) | {"private_key": bob.key_file("")["private_key"]}
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(document))
    with pytest.raises(AuthenticationFailed, match=r"'alice-data' at 127.*Invalid JWT Signature") as caught:
        opened(server, "alice-data", credentials_file=str(path)).check()
    assert document["private_key"].splitlines()[1] not in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize("text", ["", "[]", '{"type": "authorized_user"}', '{"type": "service_account"}'])
def test_a_file_that_is_no_key_file(server: GcsServer, tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"key\.json .*service account"):
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
    with pytest.raises(BucketNotFound, match="'alice-new' at 127"):
        storage.check()
    storage.check(create=True)
    storage.check()


def test_a_bucket_is_made_in_a_project(
    server: GcsServer, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = server.accounts.token(alice)
    with pytest.raises(UsageError, match="GOOGLE_CLOUD_PROJECT"):
        opened(server, "alice-other", session_token=token).check(create=True)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
    opened(server, "alice-other", session_token=token).check(create=True)
    assert "alice-other" in server.store.buckets


def test_the_bucket_of_somebody_else_is_denied(server: GcsServer, alice: Account, tmp_path: Path) -> None:
    storage = opened(server, "bob-data", credentials_file=server.key_file(alice, tmp_path))
    for call in (
        storage.check,
        lambda: storage.check(create=True),
        lambda: storage.write("a", [b"x"]),
        lambda: storage.write("a", [b"x" * 2**20] * 9),
        lambda: storage.multipart("a"),
        lambda: storage.clean(""),
    ):
        with pytest.raises(PermissionDenied, match="bob-data"):
            call()
    assert server.store.buckets["bob-data"].objects == {}


def test_a_copy_across_accounts_is_done_where_the_destination_may_read(
    server: GcsServer, alice: Account, bob: Account, tmp_path: Path
) -> None:
    source = opened(server, "alice-data", credentials_file=server.key_file(alice, tmp_path))
    destination = opened(server, "bob-data", credentials_file=server.key_file(bob, tmp_path))
    source.write("shared", [b"content"])
    assert destination.can_copy_from(source)
    with pytest.raises(PermissionDenied, match="alice-data"):
        destination.copy(source, "shared", "copied")
    assert list(destination.list()) == []
    bob.reads.add("alice-data")
    destination.copy(source, "shared", "copied")
    assert destination.stat("copied").size == 7
    bob.reads.clear()
    with pytest.raises(PermissionDenied, match="bob-data"):
        source.copy(destination, "copied", "back")
    destination.delete(["copied"])
    source.delete(["shared"])


def test_no_copy_is_tried_between_services(server: GcsServer) -> None:
    here, google = opened(server, "alice-data"), opened(server, "alice-data", address="", port=None)
    assert not here.can_copy_from(google)
    assert not google.can_copy_from(here)


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
        with pytest.raises(AuthenticationFailed, match="'alice-data'") as caught:
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
        with pytest.raises(Unreachable, match="certificate") as caught:
            opened(server, "alice-data", **values).check()
        assert not caught.value.retryable
        with pytest.raises(MbkError):
            opened(server, "alice-data", **{**values, "use_ssl": False}).check()


def test_https_to_a_service_without_tls(server: GcsServer) -> None:
    with pytest.raises(Unreachable, match="useSSL"):
        opened(server, "alice-data", use_ssl=True, session_token="token").check()


def test_nobody_listens(server: GcsServer) -> None:
    storage = opened(server, "bucket", port=free_port(), session_token="token")
    with pytest.raises(StorageUnavailable, match=r"'bucket' at 127\.0\.0\.1.*refused.*port"):
        storage.check()
