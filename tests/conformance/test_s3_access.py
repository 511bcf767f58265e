"""Who may reach an S3 bucket, how, and what is said when it cannot be reached."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
import trustme

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    MbkError,
    PermissionDenied,
    StorageUnavailable,
)
from mbk.plugin.objects import ObjectStorage
from mbk.testing import AccessConformance
from mbk.testing.access import Sharing
from mbk_s3.profiles import Profile
from mbk_s3.settings import AwsSettings, GenericSettings, MinioSettings, S3Settings
from mbk_s3.storage import open_storage
from mbk_s3.wire import S3Wire
from tests.raising import raised
from tests.servers import s3
from tests.servers.faults import fault_proxy
from tests.servers.process import HOST, free_port

ROLE = "arn:aws:iam::000000000000:role/backup"
METADATA = "/latest/meta-data/iam/security-credentials/"


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Ministack]:
    with s3.ministack() as server:
        yield server


@pytest.fixture(scope="module")
def alice(server: s3.Ministack) -> s3.S3Server:
    account = server.user("alice", "alice-*")
    account.make_bucket("alice-data")
    return account


@pytest.fixture(scope="module")
def bob(server: s3.Ministack) -> s3.S3Server:
    account = server.user("bob", "bob-*")
    account.make_bucket("bob-data")
    return account


@pytest.fixture(scope="module")
def role(server: s3.Ministack) -> str:
    """A role that may do what alice may."""
    iam = server.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"],
            }
        ],
    }
    iam.create_role(RoleName="backup", AssumeRolePolicyDocument=json.dumps(trust))
    rights = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:*",
                "Resource": ["arn:aws:s3:::alice-*", "arn:aws:s3:::alice-*/*"],
            }
        ],
    }
    iam.put_role_policy(RoleName="backup", PolicyName="own", PolicyDocument=json.dumps(rights))
    return ROLE


@pytest.fixture
def session(server: s3.Ministack, role: str) -> dict[str, Any]:
    """Temporary credentials of the role, as STS gives them."""
    answer = server.client("sts").assume_role(RoleArn=role, RoleSessionName="test")
    credentials: dict[str, Any] = answer["Credentials"]
    return credentials


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def keyless(server: s3.S3Server, bucket: str = "alice-data", **more: Any) -> ObjectStorage[S3Wire]:
    return open_storage(GenericSettings(address=server.host, port=server.port, bucket=bucket, **more))


def storage_of(account: s3.S3Server, bucket: str, **more: Any) -> ObjectStorage[S3Wire]:
    return open_storage(GenericSettings(**account.settings(bucket, **more)))


def write_and_read(storage: ObjectStorage[S3Wire], key: str = "some/key") -> None:
    storage.write(key, [b"content"], size=7)
    with storage.read(key) as chunks:
        assert b"".join(chunks) == b"content"
    assert [info.key for info in storage.list(key.rpartition("/")[0] + "/")] == [key]
    storage.delete([key])


@contextmanager
def answering(documents: Mapping[str, str]) -> Iterator[str]:
    """A web server of a few documents, as a metadata service is one; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = documents.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write((body or "").encode())

        do_PUT = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://{HOST}:{web.server_address[1]}"
        finally:
            web.shutdown()


@contextmanager
def tunnels(to: int) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy whose tunnels all lead to one port; yields its own, and the first lines of what it was asked."""
    asked: list[bytes] = []

    class Tunnel(StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline())
            while self.rfile.readline().strip():
                pass
            with socket.create_connection((HOST, to)) as inner:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pumped, args=(inner, self.connection), daemon=True)
                back.start()
                _pumped(self.connection, inner)
                back.join()

    with ThreadingTCPServer((HOST, 0), Tunnel) as proxy:
        proxy.daemon_threads = True
        proxy.block_on_close = False
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield proxy.server_address[1], asked
        finally:
            proxy.shutdown()


def _pumped(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class TestS3Access(AccessConformance):
    @pytest.fixture
    def storage(self, alice: s3.S3Server) -> ObjectStorage[S3Wire]:
        type(self).secrets = (alice.secret_key,)
        return storage_of(alice, "alice-data")

    @pytest.fixture
    def wrong_credentials(self, alice: s3.S3Server) -> list[ObjectStorage[S3Wire]]:
        names = ("access_key_id", "secret_access_key")
        return [storage_of(alice, "alice-data", **{name: "AKIAWRONGWRONGWRONG"}) for name in names]

    @pytest.fixture
    def no_credentials(self, alice: s3.S3Server) -> ObjectStorage[S3Wire]:
        return keyless(alice)

    @pytest.fixture
    def somebody_elses(self, alice: s3.S3Server, bob: s3.S3Server) -> ObjectStorage[S3Wire]:
        return storage_of(alice, "bob-data")

    @pytest.fixture
    def sharing(self, server: s3.Ministack, alice: s3.S3Server, bob: s3.S3Server) -> Sharing:
        return Sharing(
            source=storage_of(alice, "alice-data"),
            destination=storage_of(bob, "bob-data"),
            allow=lambda: server.allow("bob", "read-alice", ["s3:GetObject"], ["arn:aws:s3:::alice-data/*"]),
            withdraw=lambda: server.withdraw("bob", "read-alice"),
        )

    @pytest.fixture
    def elsewhere(self) -> ObjectStorage[S3Wire]:
        return open_storage(MinioSettings(bucket="alice-data", address="elsewhere"))

    @pytest.fixture
    def nobody(self) -> ObjectStorage[S3Wire]:
        return open_storage(MinioSettings(bucket="bucket", address=HOST, port=free_port()))

    @pytest.fixture
    def without_tls(self, alice: s3.S3Server) -> ObjectStorage[S3Wire]:
        return storage_of(alice, "alice-data", use_ssl=True)

    @pytest.fixture
    def untrusted(self, alice: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        with fault_proxy(alice.port, tls=context) as proxy:
            yield storage_of(alice.behind(proxy.port), "alice-data", address="localhost", use_ssl=True)


def test_a_session_token(server: s3.Ministack, alice: s3.S3Server, session: dict[str, Any]) -> None:
    keys = {"access_key_id": session["AccessKeyId"], "secret_access_key": session["SecretAccessKey"]}
    write_and_read(keyless(server, session_token=session["SessionToken"], **keys))
    with pytest.raises((AuthenticationFailed, PermissionDenied)):
        keyless(server, session_token="another", **keys).check()


def test_keys_of_the_environment(alice: s3.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", alice.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", alice.secret_key)
    write_and_read(keyless(alice))
    write_and_read(keyless(alice, use_iam=True, access_key_id="unused", secret_access_key="unused"))


def test_keys_of_a_shared_profile(alice: s3.S3Server, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        f"[backups]\naws_access_key_id={alice.access_key}\naws_secret_access_key={alice.secret_key}\n"
    )
    write_and_read(keyless(alice, profile="backups"))


def test_a_web_identity_through_an_sts_endpoint_of_its_own(
    alice: s3.S3Server, role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("header.payload.signature")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", role)
    with s3.moto() as sts, fault_proxy(sts.port) as proxy:
        storage = keyless(sts, "identity", use_iam=True, iam_endpoint=f"http://{HOST}:{proxy.port}")
        sts.make_bucket("identity")
        write_and_read(storage)
        assert [request.method for request in proxy.requests] == ["POST"]


def test_credentials_of_a_container(
    alice: s3.S3Server, session: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        "AccessKeyId": session["AccessKeyId"],
        "SecretAccessKey": session["SecretAccessKey"],
        "Token": session["SessionToken"],
        "Expiration": session["Expiration"].isoformat(),
    }
    with answering({"/role": json.dumps(document)}) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/elsewhere")
        write_and_read(keyless(alice, use_iam=True, iam_endpoint=f"{url}/role"))
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
        write_and_read(keyless(alice, use_iam=True))


def test_temporary_keys_are_renewed_amid_a_run(
    alice: s3.S3Server, session: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They expire so soon that the SDK wants new ones for each request; the role's first ones are of no use any more."""
    document = {
        "AccessKeyId": "ASIAEXPIREDEXPIRED00",
        "SecretAccessKey": "expired",
        "Token": "expired",
        "Expiration": (datetime.now(UTC) + timedelta(minutes=1)).isoformat(),
    }
    documents = {"/role": json.dumps(document)}
    with answering(documents) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
        storage = keyless(alice, use_iam=True)
        with pytest.raises((AuthenticationFailed, PermissionDenied)):
            storage.check()
        document |= {
            "AccessKeyId": session["AccessKeyId"],
            "SecretAccessKey": session["SecretAccessKey"],
            "Token": session["SessionToken"],
        }
        documents["/role"] = json.dumps(document)
        write_and_read(storage)


def test_credentials_of_an_instance(
    alice: s3.S3Server, session: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    document = {
        "Code": "Success",
        "AccessKeyId": session["AccessKeyId"],
        "SecretAccessKey": session["SecretAccessKey"],
        "Token": session["SessionToken"],
        "Expiration": session["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    pages = {"/latest/api/token": "t", METADATA: "backup", f"{METADATA}backup": json.dumps(document)}
    with answering(pages) as url:
        write_and_read(keyless(alice, use_iam=True, iam_endpoint=url))


def test_a_missing_bucket_is_made_only_on_request(alice: s3.S3Server) -> None:
    storage = storage_of(alice, "alice-new", root_path="backup")
    with raised(BucketNotFound, "bucket-missing", bucket="alice-new"):
        storage.check()
    storage.check(create=True)
    storage.check()


def test_a_bucket_of_a_further_service_is_made_in_its_region(alice: s3.S3Server) -> None:
    class Settings(S3Settings):
        profile_of_service = Profile("else", "elsewhere", address="s3.{region}.else.example", regional=True)

    settings = alice.settings("alice-in-the-north", region="cn-north-4")
    open_storage(Settings(**settings)).check(create=True)
    answer = alice.client().get_bucket_location(Bucket="alice-in-the-north")
    assert answer["LocationConstraint"] == "cn-north-4"


def test_a_root_with_a_leading_slash(alice: s3.S3Server) -> None:
    storage = storage_of(alice, "alice-data", root_path="/files/")
    storage.check()
    write_and_read(storage, f"{storage.location.root}insert_log/1/2")


def test_keys_that_xml_cannot_name(alice: s3.S3Server) -> None:
    storage = storage_of(alice, "alice-data")
    for key in ("odd/tab\there", "odd/return\rhere", "odd/\x01\x1f"):
        write_and_read(storage, key)


def test_virtual_host_style(alice: s3.S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = socket.getaddrinfo

    def to_loopback(host: Any, *args: Any, **kwargs: Any) -> Any:
        return lookup(HOST if str(host).endswith(".localhost") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", to_loopback)
    with fault_proxy(alice.port) as proxy:
        values = alice.behind(proxy.port).settings("alice-data", address="localhost", path_style=False)
        write_and_read(open_storage(GenericSettings(**values)))
        write_and_read(open_storage(AwsSettings(**{**values, "path_style": None, "use_ssl": False})))
        assert {request.headers["Host"] for request in proxy.requests} == {
            f"alice-data.localhost:{proxy.port}"
        }


def test_a_private_ca(alice: s3.S3Server, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with fault_proxy(alice.port, tls=context) as proxy:
        account = alice.behind(proxy.port)
        values = account.settings("alice-data", address="localhost", use_ssl=True)
        write_and_read(open_storage(GenericSettings(**values, ca_cert=str(tmp_path / "ca.pem"))))
        assert {request.headers["x-amz-content-sha256"] for request in proxy.requests} == {"UNSIGNED-PAYLOAD"}
        with pytest.raises(MbkError):
            open_storage(GenericSettings(**{**values, "use_ssl": False})).check()


def test_through_a_proxy(alice: s3.S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over TLS by a tunnel, and plain by whole addresses; what no_proxy names is asked directly."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("s3.elsewhere.example").configure_cert(context)
    with fault_proxy(alice.port, tls=context) as front, tunnels(front.port) as (port, asked):
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@{HOST}:{port}")
        values = alice.settings("alice-data", ca_cert=str(tmp_path / "ca.pem"), use_ssl=True)
        values |= {"address": "s3.elsewhere.example", "port": 8443}
        write_and_read(open_storage(GenericSettings(**values)))
        assert {request.headers["Host"] for request in front.requests} == {"s3.elsewhere.example:8443"}
    assert [line.partition(b" HTTP")[0] for line in asked] == [b"CONNECT s3.elsewhere.example:8443"]
    with fault_proxy(alice.port) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{HOST}:{proxy.port}")
        # The server behind this one takes the whole address for a path.
        with suppress(MbkError):
            storage_of(alice, "alice-data").check()
        assert [request.target.partition("/alice-data")[0] for request in proxy.requests] == [alice.url]
        monkeypatch.setenv("no_proxy", HOST)
        storage_of(alice, "alice-data").check()
        assert len(proxy.requests) == 1


def test_a_server_that_stops(alice: s3.S3Server) -> None:
    with s3.rclone() as server:
        server.make_bucket("bucket")
        storage = storage_of(server, "bucket")
        storage.check()
    with pytest.raises(StorageUnavailable):
        storage.check()
