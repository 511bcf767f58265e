"""Who could send the requests of `benchmarks.requests`: three methods each, from any thread."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mbk_s3.signing import UNSIGNED, Keys, signed

REGION = "us-east-1"
BUCKET = "benchmark"


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int
    access_key: str
    secret_key: str

    @property
    def settings(self) -> dict[str, Any]:
        keys = {"access_key_id": self.access_key, "secret_access_key": self.secret_key}
        return {"address": self.host, "port": self.port, "bucket": BUCKET, **keys}

    def headers(self, method: str, path: str, more: Mapping[str, str]) -> dict[str, str]:
        return signed(
            Keys(self.access_key, self.secret_key),
            REGION,
            method=method,
            host=f"{self.host}:{self.port}",
            path=path,
            query="",
            headers=more,
            payload=UNSIGNED,
            at=time.time(),
        )


class Sender(Protocol):
    def copy(self, key: str, to: str) -> object: ...

    def get(self, key: str) -> bytes: ...

    def put(self, key: str, data: bytes) -> object: ...


class Mbk:
    """What mbk does: its storage, everything checked."""

    def __init__(self, target: Target) -> None:
        from mbk_s3.settings import GenericSettings
        from mbk_s3.storage import open_storage

        self.storage = open_storage(GenericSettings(**target.settings))

    def copy(self, key: str, to: str) -> object:
        return self.storage.copy(self.storage, key, to)

    def get(self, key: str) -> bytes:
        with self.storage.read(key) as chunks:
            return b"".join(chunks)

    def put(self, key: str, data: bytes) -> object:
        return self.storage.write(key, [data], size=len(data))


class Boto:
    """The SDK as mbk used it: no checksums, one attempt."""

    def __init__(self, target: Target) -> None:
        from mbk_s3 import sdk
        from mbk_s3.settings import GenericSettings

        settings = GenericSettings(**target.settings)
        self.client = sdk.client_of(sdk.session_of(settings), settings)

    def copy(self, key: str, to: str) -> object:
        return self.client.copy_object(Bucket=BUCKET, Key=to, CopySource={"Bucket": BUCKET, "Key": key})

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> object:
        return self.client.put_object(Bucket=BUCKET, Key=key, Body=data)


class Signing:
    """Signed requests by something that sends: ``send(method, path, headers, body)``."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        raise NotImplementedError

    def call(self, method: str, key: str, body: bytes = b"", **more: str) -> bytes:
        path = f"/{BUCKET}/{key}"
        headers = self.target.headers(
            method, path, {name.replace("_", "-"): text for name, text in more.items()}
        )
        return self.send(method, path, headers, body)

    def copy(self, key: str, to: str) -> object:
        return self.call("PUT", to, x_amz_copy_source=f"{BUCKET}/{key}")

    def get(self, key: str) -> bytes:
        return self.call("GET", key)

    def put(self, key: str, data: bytes) -> object:
        return self.call("PUT", key, data)


class Bare(Signing):
    """The ceiling: a socket a thread, a signature, and of the answer only its status and length looked at."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.kept = threading.local()

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        sock: socket.socket | None = getattr(self.kept, "sock", None)
        if sock is None:
            sock = self.kept.sock = socket.create_connection((self.target.host, self.target.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = "".join([f"{name}: {text}\r\n" for name, text in headers.items()])
        host = f"Host: {self.target.host}:{self.target.port}\r\nContent-Length: {len(body)}\r\n"
        sock.sendall(f"{method} {path} HTTP/1.1\r\n{host}{fields}\r\n".encode())
        if body:
            sock.sendall(body)
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += sock.recv(65536)
        head, rest = got[:end].lower(), got[end + 4 :]
        if b" 200 " not in head[:16]:
            raise RuntimeError(got)
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0] or 0)
        if len(rest) < length:
            rest += sock.recv(length - len(rest), socket.MSG_WAITALL)
        return rest


class HttpClient(Signing):
    """The standard library's."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.kept = threading.local()

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        connection: http.client.HTTPConnection | None = getattr(self.kept, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self.target.host, self.target.port, timeout=300)
            self.kept.connection = connection
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(content)
        return content


class Urllib3(Signing):
    """The pool below the SDK, without the SDK."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        import urllib3

        self.pool = urllib3.HTTPConnectionPool(target.host, target.port, maxsize=64, retries=False)

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        answer = self.pool.urlopen(method, path, body=body or None, headers=headers)
        if answer.status != 200:
            raise RuntimeError(answer.data)
        return answer.data


class Crt:
    """AWS's runtime in C: PyPI `awscrt`."""

    def __init__(self, target: Target) -> None:
        from awscrt import auth, http, io, s3

        self.target, self.http, self.s3 = target, http, s3
        bootstrap = io.ClientBootstrap.get_or_create_static_default()
        provider = auth.AwsCredentialsProvider.new_static(target.access_key, target.secret_key)
        signing = s3.create_default_s3_signing_config(region=REGION, credential_provider=provider)
        self.client = s3.S3Client(
            bootstrap=bootstrap,
            region=REGION,
            signing_config=signing,
            tls_mode=s3.S3RequestTlsMode.DISABLED,
            throughput_target_gbps=5,
        )

    def request(
        self, kind: Any, method: str, key: str, body: bytes = b"", name: str = "", **more: str
    ) -> bytes:
        pieces: list[bytes] = []
        headers = self.http.HttpHeaders([("Host", f"{self.target.host}:{self.target.port}")])
        for header, text in more.items():
            headers.add(header.replace("_", "-"), text)
        if method == "PUT":
            headers.add("Content-Length", str(len(body)))
        asked = self.http.HttpRequest(method, f"/{BUCKET}/{key}", headers, io.BytesIO(body) if body else None)
        self.client.make_request(
            type=kind,
            request=asked,
            operation_name=name or None,
            on_body=lambda chunk, **_: pieces.append(bytes(chunk)),
        ).finished_future.result()
        return b"".join(pieces)

    def copy(self, key: str, to: str) -> object:
        kind = self.s3.S3RequestType.DEFAULT
        return self.request(kind, "PUT", to, name="CopyObject", x_amz_copy_source=f"{BUCKET}/{key}")

    def get(self, key: str) -> bytes:
        return self.request(self.s3.S3RequestType.GET_OBJECT, "GET", key)

    def put(self, key: str, data: bytes) -> object:
        return self.request(self.s3.S3RequestType.PUT_OBJECT, "PUT", key, data)


class Obstore:
    """The Rust crate object_store: PyPI `obstore`."""

    def __init__(self, target: Target) -> None:
        import obstore
        from obstore.store import S3Store

        self.obstore = obstore
        self.store = S3Store(
            BUCKET,
            endpoint=f"http://{target.host}:{target.port}",
            access_key_id=target.access_key,
            secret_access_key=target.secret_key,
            region=REGION,
            virtual_hosted_style_request=False,
            unsigned_payload=True,
            client_options={"allow_http": True},
        )

    def copy(self, key: str, to: str) -> object:
        return self.obstore.copy(self.store, key, to)

    def get(self, key: str) -> bytes:
        return bytes(self.obstore.get(self.store, key).bytes())

    def put(self, key: str, data: bytes) -> object:
        return self.obstore.put(self.store, key, data, use_multipart=False)


class Opendal:
    """Apache OpenDAL, in Rust: PyPI `opendal`."""

    def __init__(self, target: Target) -> None:
        import opendal

        self.operator = opendal.Operator(
            "s3",
            bucket=BUCKET,
            endpoint=f"http://{target.host}:{target.port}",
            access_key_id=target.access_key,
            secret_access_key=target.secret_key,
            region=REGION,
        )

    def copy(self, key: str, to: str) -> object:
        return self.operator.copy(key, to)

    def get(self, key: str) -> bytes:
        return bytes(self.operator.read(key))

    def put(self, key: str, data: bytes) -> object:
        return self.operator.write(key, data)


SENDERS: dict[str, Callable[[Target], Sender]] = {
    "bare": Bare,
    "mbk": Mbk,
    "http.client": HttpClient,
    "urllib3": Urllib3,
    "boto3": Boto,
    "awscrt": Crt,
    "obstore": Obstore,
    "opendal": Opendal,
}
