"""A server for Tencent Cloud COS: its signature, its headers, its XML, before ministack (`front`).

What it does follows cloud.tencent.com: "Request signature" (436/7778), "Error codes" (436/7730), "GET Bucket"
(436/7734), "PUT Object" (436/7749), "PUT Object - Copy" (436/10881), "Object overview" (436/13324).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from tests.servers.front import (
    Answer,
    Front,
    Key,
    Refused,
    Request,
    decoded_path,
    request_id,
    serving,
    upstream,
    with_elements,
)
from tests.servers.process import HOST
from tests.servers.s3 import S3Server

APPID = "1250000000"


@dataclass(frozen=True, slots=True)
class CosAccount:
    """One CAM user of a running server."""

    front: CosFront
    access_key: str
    secret_key: str
    s3: S3Server

    def settings(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The values of a storage's settings, in mbk's vocabulary."""
        return {
            "address": HOST,
            "port": self.front.port,
            "use_ssl": False,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "bucket": bucket,
            **more,
        }

    def make_bucket(self, bucket: str) -> str:
        return self.s3.make_bucket(bucket)

    def temporary(self, name: str) -> tuple[str, str, str]:
        """Id, secret and token with this user's rights, as STS gives them."""
        key = (f"AKIDtmp{name}", f"{name}-temporary-secret", f"{name}-token")
        self.front.keys[key[0]] = Key(key[1], self.s3, key[2])
        return key


class CosFront(Front):
    prefix: ClassVar[str] = "x-cos-"
    conditions: ClassVar[str] = "x-cos-forbid-overwrite"
    spellings: ClassVar[dict[str, str]] = {
        "x-cos-server-side-encryption-cos-kms-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
        "cos/kms": "aws:kms",
        "Replaced": "REPLACE",
    }

    def user(self, name: str, *buckets: str) -> CosAccount:
        """A CAM user who may do everything with these buckets (patterns such as ``alice-*``) and nothing else."""
        account = CosAccount(self, f"AKID{name}", f"{name}-cos-secret", self.upstream.user(name, *buckets))
        self.keys[account.access_key] = Key(account.secret_key, account.s3)
        return account

    def locate(self, request: Request) -> tuple[str, str]:
        return request.host.partition(".")[0], decoded_path(request.path)[1:]

    def allowed(self, request: Request, key: str) -> None:
        if key and (key[0] in "/\\" or len(key.encode()) > 850):
            raise Refused(400, "KeyTooLong", "The specified key is not valid.")

    def verify(self, request: Request) -> Key:
        given = dict(part.partition("=")[::2] for part in request.headers.get("authorization", "").split("&"))
        if given.get("q-sign-algorithm") != "sha1":
            raise Refused(403, "AccessDenied", "Access Denied.")
        key = self.keys.get(given["q-ak"])
        if not key:
            raise Refused(403, "InvalidAccessKeyId", "The Access Key Id you provided does not exist.")
        if key.token != request.headers.get("x-cos-security-token", ""):
            raise Refused(403, "InvalidToken", "The security token is invalid.")
        begin, end = (int(second) for second in given["q-sign-time"].split(";"))
        if not begin <= time.time() <= end:
            raise Refused(403, "AccessDenied", "Request has expired.")
        if not hmac.compare_digest(_signature(request, given, key.secret), given["q-signature"]):
            raise Refused(403, "SignatureDoesNotMatch", "The Signature you specified is invalid.")
        return key

    def source(self, value: str) -> str:
        host, _, key = unquote(value).partition("/")
        return f"{host.partition('.')[0]}/{quote(key)}"

    def translate_error(self, answer: Answer) -> tuple[int, str]:
        if answer.status == 412:
            return 409, "FileAlreadyExists"
        return answer.status, answer.code

    def error(self, request: Request, status: int, code: str, message: str) -> Answer:
        body = (
            "<?xml version='1.0' encoding='utf-8' ?>\n"
            f"<Error><Code>{code}</Code><Message>{message}</Message><Resource>{request.host}</Resource>"
            f"<RequestId>{request_id()}</RequestId><TraceId>{request_id()}</TraceId></Error>"
        ).encode()
        headers = {"content-type": "application/xml", "x-cos-request-id": request_id()}
        return Answer(status, headers, b"" if request.method == "HEAD" else body)

    def after(self, request: Request, answer: Answer) -> Answer:
        body = answer.body
        if b"<ListBucketResult" in body and b"<IsTruncated>true" in body and b"<NextMarker>" not in body:
            last = re.findall(rb"<Key>([^<]*)</Key>", body)[-1]
            body = body.replace(
                b"</ListBucketResult>", b"<NextMarker>" + last + b"</NextMarker></ListBucketResult>"
            )
        body = with_elements(body, "ListBucketResult", "NextMarker")
        body = with_elements(body, "ListMultipartUploadsResult", "NextKeyMarker", "NextUploadIdMarker")
        return replace(answer, headers={**answer.headers, "x-cos-request-id": request_id()}, body=body)


def _signature(request: Request, given: dict[str, str], secret: str) -> str:
    query = {name.lower(): value for name, value in request.query}
    listed = [name for name in given["q-url-param-list"].split(";") if name]
    parameters = "&".join(f"{name}={_quoted(query[unquote(name)])}" for name in listed)
    signed = [name for name in given["q-header-list"].split(";") if name]
    headers = "&".join(f"{name}={_quoted(request.headers.get(name, ''))}" for name in signed)
    document = f"{request.method.lower()}\n{decoded_path(request.path)}\n{parameters}\n{headers}\n"
    digest = hashlib.sha1(document.encode()).hexdigest()
    text = f"sha1\n{given['q-sign-time']}\n{digest}\n"
    key = hmac.new(secret.encode(), given["q-key-time"].encode(), hashlib.sha1).hexdigest()
    return hmac.new(key.encode(), text.encode(), hashlib.sha1).hexdigest()


def _quoted(value: str) -> str:
    return quote(value, safe="-_.~")


@contextmanager
def cos() -> Iterator[CosFront]:
    with upstream() as server:
        front = CosFront(server)
        with serving(front):
            yield front
