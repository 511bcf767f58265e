"""S3 without its SDK: the same hosts, paths and signatures as the SDK's, and answers that are not to be trusted."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session
import pytest
from pydantic import SecretStr

from mbk.errors import (
    MbkError,
    PermissionDenied,
    StorageError,
    StorageUnavailable,
    TransferInterrupted,
    UsageError,
)
from mbk.plugin.http import ConnectionLost
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import Retention, WriteOptions
from mbk_s3 import sdk
from mbk_s3.addresses import address_of
from mbk_s3.client import Client
from mbk_s3.settings import AwsSettings, GenericSettings, MinioSettings, S3Settings
from mbk_s3.signing import Keys, signed
from mbk_s3.storage import open_storage
from mbk_s3.wire import S3Wire
from tests.servers.process import HOST
from tests.servers.scripted import CLOSE, Scripted, answer, scripted

#: Loading the service's description takes most of the time of making a client.
SESSION = botocore.session.Session()
ETAG = 'ETag: "d41d8cd98f00b204e9800998ecf8427e"'
KEYS = {"access_key_id": "an-id", "secret_access_key": "a-secret"}


def opened(server: Scripted, **more: Any) -> ObjectStorage[S3Wire]:
    values = {"address": HOST, "port": server.port, "bucket": "bucket", **KEYS, **more}
    return open_storage(GenericSettings(**values))


def error(code: str, more: str = "") -> bytes:
    return f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()


def targets(server: Scripted) -> list[str]:
    return [" ".join(head.split(" ")[:2]) for _, head, _ in server.requests]


def content(storage: ObjectStorage[S3Wire]) -> bytes:
    with storage.read("k") as chunks:
        return b"".join(chunks)


def field(head: str, name: str) -> str:
    return next(
        (line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith(f"{name}:")), ""
    )


@pytest.mark.parametrize(
    "settings",
    [
        AwsSettings(bucket="bucket", region="eu-west-3"),
        AwsSettings(bucket="with.dots"),
        AwsSettings(bucket="with.dots", path_style=False),
        AwsSettings(bucket="with.dots", path_style=False, port=80, use_ssl=False),
        AwsSettings(bucket="Upper-Case", path_style=False),
        AwsSettings(bucket="bucket", region="cn-north-1"),
        AwsSettings(bucket="bucket", address="vpce-1.s3.eu-west-1.vpce.amazonaws.com"),
        MinioSettings(bucket="bucket"),
        MinioSettings(bucket="bucket", path_style=False),
        MinioSettings(bucket="bucket", address="127.0.0.1", path_style=False),
        MinioSettings(bucket="bucket", address="::1", port=9001),
        GenericSettings(bucket="bucket", address="h", path_style=False),
        GenericSettings(bucket="bucket", address="h", use_ssl=True, port=8443, path_style=False),
        GenericSettings(bucket="192.168.5.4", address="h.example", path_style=False),
        GenericSettings(bucket="under_score", address="h.example", path_style=False),
    ],
    ids=lambda settings: f"{settings.bucket} at {settings.host}",
)
def test_requests_go_to_the_host_and_path_that_the_sdk_chooses(settings: S3Settings) -> None:
    keyed = settings.model_copy(update={"access_key_id": "an-id", "secret_access_key": SecretStr("s")})
    client = sdk.client_of(SESSION, keyed)
    for key in ("a/b", "ä +%~*'(),;=@:$!/é", "//x/../y/./", "dir/"):
        params = {"Bucket": settings.bucket, "Key": key}
        url = client.generate_presigned_url("get_object", Params=params)
        asked = url.partition("?")[0].replace(":443/", "/", 1).replace(":80/", "/", 1)
        address = address_of(keyed)
        assert f"{address.origin}{address.of(key)}" == asked


@pytest.mark.parametrize("token", ["", "a-token/with+signs=="])
@pytest.mark.parametrize(
    ("method", "path", "query", "headers"),
    [
        ("GET", "/bucket", "list-type=2&prefix=a%2F%20%2B", {"Content-MD5": "eA=="}),
        (
            "PUT",
            "/bucket/%C3%A4%20%2B//x/../y",
            "",
            {"x-amz-copy-source": "b/k%20", "If-None-Match": "*", "Content-MD5": "eA=="},
        ),
        (
            "PUT",
            "/k",
            "partNumber=2&uploadId=x",
            {"x-amz-storage-class": "two  spaces", "Content-MD5": "eA=="},
        ),
    ],
)
def test_signatures_are_the_sdks(
    method: str, path: str, query: str, headers: dict[str, str], token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now.replace(tzinfo=None))
    ours = signed(
        Keys("an-id", "a-secret", token),
        "eu-west-1",
        method=method,
        host="h:9000",
        path=path,
        query=query,
        headers=headers,
        payload="UNSIGNED-PAYLOAD",
        at=now.timestamp(),
    )
    url = f"https://h:9000{path}{'?' if query else ''}{query}"
    request = botocore.awsrequest.AWSRequest(method, url, {**headers}, b"")
    request.context["payload_signing_enabled"] = False
    credentials = botocore.credentials.Credentials("an-id", "a-secret", token or None)
    botocore.auth.S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(request)
    assert ours["Authorization"] == request.headers["Authorization"]
    assert ours.get("x-amz-security-token", "") == token


def test_no_representation_of_keys_shows_a_secret() -> None:
    assert "secret" not in repr(Keys("an-id", "a-secret", "a-secret-token"))


def test_with_keys_in_the_settings_the_sdk_is_not_loaded() -> None:
    listing = answer(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    with scripted([listing]) as server:
        code = (
            "import sys; from mbk_s3.settings import GenericSettings; from mbk_s3 import open_storage;"
            f"print([*open_storage(GenericSettings(address={HOST!r}, port={server.port}, bucket='bucket',"
            " access_key_id='a', secret_access_key='s')).list()]);"
            "print([m for m in sys.modules if m.split('.')[0] in ('boto3', 'botocore', 'urllib3', 'requests')])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_a_listing_is_decoded_and_read_by_its_elements() -> None:
    page = b"""<?xml version="1.0" encoding="UTF-8"?>
    <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><EncodingType>url</EncodingType>
    <Contents><Key>a+b%2B%01%26</Key><Size>7</Size><ETag>&quot;x&quot;</ETag>
    <LastModified>2026-03-04T05:06:07.008Z</LastModified><StorageClass>GLACIER</StorageClass></Contents>
    <Contents><Key>&lt;&amp;&gt;</Key><Size>0</Size><LastModified>Wed, 04 Mar 2026 05:06:07 GMT</LastModified></Contents>
    <Contents><Key>c</Key><Size>1</Size><LastModified>yesterday</LastModified></Contents>
    <IsTruncated>false</IsTruncated></ListBucketResult>"""
    with scripted([answer(page)]) as server:
        first, second, third = opened(server).list("a+/")
    assert (first.key, first.size, first.etag, first.storage_class) == ("a b+\x01&", 7, "x", "GLACIER")
    assert first.modified == datetime(2026, 3, 4, 5, 6, 7, 8000, tzinfo=UTC)
    assert (second.key, second.modified) == ("<&>", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
    assert third.modified is None
    assert targets(server) == ["GET /bucket?encoding-type=url&list-type=2&prefix=a%2B%2F"]


def test_unfinished_uploads_are_dropped_by_their_decoded_keys() -> None:
    page = b"""<ListMultipartUploadsResult><EncodingType>url</EncodingType><Upload><Key>p/a+b%2B%25</Key>
    <UploadId>1</UploadId></Upload><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"""
    with scripted([answer(page), answer(status="204 No Content", length=False)]) as server:
        assert opened(server).clean("p/a b+") == 1
    assert targets(server)[1] == "DELETE /bucket/p/a%20b%2B%25?uploadId=1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><p>not S3",
        b"<ListBucketResult><IsTruncated>false</IsTruncated>",
        b"<ListBucketResult/>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents/><IsTruncated>false</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents>x</Contents><IsTruncated>false</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents><IsTruncated>false</IsTruncated></ListBucketResult>",
        b"<a>&undefined;</a>",
        b"\xff\xfe\x00",
    ],
)
def test_a_listing_that_is_none_is_never_taken_for_the_end(body: bytes) -> None:
    with (
        scripted([answer(body)]) as server,
        pytest.raises((StorageUnavailable, TransferInterrupted)) as caught,
    ):
        list(opened(server).list())
    assert caught.value.retryable


def test_entities_that_swell_are_refused() -> None:
    swelling = b'<!DOCTYPE a [<!ENTITY a "%b">' % (b"x" * 1000)
    for number in range(6):
        name, below = chr(ord("b") + number), f"&{chr(ord('a') + number)};" * 100
        swelling += f'<!ENTITY {name} "{below}">'.encode()
    swelling += b"]><ListBucketResult>&g;</ListBucketResult>"
    with scripted([answer(swelling)]) as server, pytest.raises(StorageUnavailable):
        list(opened(server).list())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (error("InternalError"), StorageUnavailable),
        (b"  \n  " + error("AccessDenied"), PermissionDenied),
        (b"", StorageUnavailable),
        (b"<CopyObjectResult><ETag>x</ET", StorageUnavailable),
    ],
)
def test_success_that_holds_an_error_or_nothing_is_no_success(
    body: bytes, expected: type[StorageError]
) -> None:
    with scripted([answer(body)]) as server:
        storage = opened(server)
        with pytest.raises(expected):
            storage.copy(storage, "a", "b")


@pytest.mark.parametrize("told", [b"&quot;0123&quot;", b'"0123"', b"0123"])
def test_the_etag_of_a_copy_has_quotes_or_none(told: bytes) -> None:
    body = b"<CopyObjectResult><ETag>" + told + b"</ETag></CopyObjectResult>"
    with scripted([answer(body)]) as server:
        storage = opened(server)
        assert storage.copy(storage, "a b/ä+", "c").etag == "0123"
    assert field(server.requests[0][1], "x-amz-copy-source") == "bucket/a%20b/%C3%A4%2B"


@pytest.mark.parametrize(
    ("status", "body", "expected", "reason"),
    [
        ("403 Forbidden", error("SignatureDoesNotMatch"), "AuthenticationFailed", "no (SignatureDoesNotMatch)"),
        ("404 Not Found", b"", "ObjectNotFound", "Not Found (404)"),
        ("502 Bad Gateway", b"<html>a balancer's page", "StorageUnavailable", "Bad Gateway (502)"),
        ("403 Forbidden", b"<Error/>", "PermissionDenied", "Forbidden (403)"),
        ("599 Odd", b"", "StorageUnavailable", "no reason given (599)"),
        ("503 Slow", b"<ErrorResponse><Error><Code>SlowDown</Code></Error></ErrorResponse>", "Throttled", "no reason given (SlowDown)"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_by_its_code_or_its_status(
    status: str, body: bytes, expected: str, reason: str
) -> None:
    with scripted([answer(body, status=status)]) as server, pytest.raises(MbkError) as caught:
        content(opened(server))
    assert type(caught.value).__name__ == expected
    assert caught.value.facts["reason"] == reason


REGION = "<Region>eu-west-9</Region>"


@pytest.mark.parametrize(
    "told",
    [
        answer(b"", "x-amz-bucket-region: eu-west-9", "Location: http://else/", status="307 Temporary"),
        answer(error("PermanentRedirect"), "x-amz-bucket-region: eu-west-9", status="301 Moved"),
        answer(error("AuthorizationHeaderMalformed", REGION), status="400 Bad Request"),
    ],
    ids=["307", "301", "400"],
)
def test_the_region_that_the_service_tells_is_used_from_then_on(told: bytes) -> None:
    with scripted([told, answer(b"x", ETAG)], [answer(b"x", ETAG), answer(b"x", ETAG)]) as server:
        storage = opened(server)
        for _ in range(2):
            assert content(storage) == b"x"
    scopes = [field(head, "authorization").split("/")[2] for _, head, _ in server.requests]
    assert scopes == ["us-east-1", "eu-west-9", "eu-west-9"]


@pytest.mark.parametrize(
    "told",
    [
        answer(b"", "Location: http://elsewhere/", status="301 Moved Permanently"),
        answer(b"", "x-amz-bucket-region: evil.example/", status="307 Temporary Redirect"),
        answer(error("PermanentRedirect", "<Region>us-east-1</Region>"), status="301 Moved"),
    ],
)
def test_a_redirect_without_another_region_is_told(told: bytes) -> None:
    with scripted([told]) as server, pytest.raises(StorageError):
        list(opened(server).list())
    assert len(server.requests) == 1


def test_a_region_changes_amazons_own_host_and_no_other() -> None:
    at_amazon = AwsSettings(bucket="bucket", region="eu-west-1", **KEYS)
    assert address_of(at_amazon, "eu-west-2").origin.host == "bucket.s3.eu-west-2.amazonaws.com"
    elsewhere = GenericSettings(bucket="bucket", region="eu", address="store.eu.example", **KEYS)
    assert address_of(elsewhere, "us").origin.host == "store.eu.example"


def test_options_of_a_write_are_header_fields_that_are_signed() -> None:
    until = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    options = WriteOptions(
        storage_class="COLD",
        encryption_key="k1",
        tags={"a b": "c&d"},
        retention=Retention(mode="governance", until=until),
    )
    wanted = {
        "x-amz-storage-class": "COLD",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "k1",
        "x-amz-tagging": "a+b=c%26d",
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-retain-until-date": "2030-01-02T03:04:05Z",
    }
    with scripted([answer(b"", ETAG, "x-amz-server-side-encryption-aws-kms-key-id: k1")]) as server:
        all_of_them = frozenset({"storage_class", "encryption_key", "tags", "retention"})
        opened(server, write_options=all_of_them).write("k", [b"x"], options=options)
    head = server.requests[0][1]
    assert {name: field(head, name) for name in wanted} == wanted
    assert field(head, "content-md5")
    listed = field(head, "authorization").partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {*wanted, "host", "content-md5"} <= {*listed}


class _Credentials:
    """As the SDK's that renew themselves: each time somebody asks they are new."""

    def __init__(self) -> None:
        self.asked = 0

    def get_frozen_credentials(self) -> botocore.credentials.ReadOnlyCredentials:
        self.asked += 1
        return botocore.credentials.ReadOnlyCredentials(f"id-{self.asked}", "s", f"token-{self.asked}")


def test_temporary_keys_are_asked_for_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: _Credentials())
    with scripted([answer(b"x", ETAG)] * 3) as server:
        storage = opened(server, access_key_id="", secret_access_key="", use_iam=True)
        for _ in range(3):
            storage.write("k", [b"x"])
    heads = [head for _, head, _ in server.requests]
    assert [field(head, "x-amz-security-token") for head in heads] == ["token-1", "token-2", "token-3"]
    assert ["Credential=id-3/" in head for head in heads] == [False, False, True]


def test_a_conditional_write_is_never_sent_twice() -> None:
    with scripted([answer(b"", ETAG)], [CLOSE], [answer(b"", ETAG)]) as server:
        storage = opened(server)
        storage.write("warm", [b"x"])
        client = storage.wrapped.client
        with pytest.raises(ConnectionLost):
            client.put_object(Key="k", Body=b"x", IfNoneMatch="*")
    assert targets(server) == ["PUT /bucket/warm", "PUT /bucket/k"]


def test_what_our_client_cannot_do_is_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = AwsSettings(bucket="name--use1-az4--x-s3", region="us-east-1", **KEYS)
    assert not isinstance(open_storage(directory).wrapped.client, Client)
    monkeypatch.setenv("https_proxy", "https://proxy.example:3128")
    ordinary = AwsSettings(bucket="bucket", region="us-east-1", **KEYS)
    assert not isinstance(open_storage(ordinary).wrapped.client, Client)
    monkeypatch.setenv("no_proxy", "amazonaws.com")
    assert isinstance(open_storage(ordinary).wrapped.client, Client)


def test_a_proxy_that_nobody_can_use_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://me:s3cret@proxy.example")
    with pytest.raises(UsageError) as caught:
        open_storage(GenericSettings(bucket="bucket", address="h", **KEYS)).check()
    assert "socks5" in str(caught.value)
    assert "s3cret" not in str(caught.value)
