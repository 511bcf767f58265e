"""A server for Alibaba Cloud OSS: its signatures V1 and V4, its headers, its XML, before ministack (`front`).

What it does follows help.aliyun.com: "Include a V1 signature in the Authorization header" and the same for V4
(developer-reference), "GetObject" (ranges), "CopyObject" and "UploadPartCopy", "DeleteMultipleObjects",
"Prevent objects from being overwritten", "Object naming conventions" (0016-00000005), "OSS error responses".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar
from urllib.parse import quote

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

OSS_REGION = "cn-hangzhou"
SKEW = 15 * 60

#: The query parameters that signature V1 covers, of those that are sent here.
SUBRESOURCES = {
    "acl", "uploads", "location", "cors", "logging", "website", "referer", "lifecycle", "delete", "append",
    "tagging", "objectMeta", "uploadId", "partNumber", "security-token", "position", "restore", "bucketInfo",
    "continuation-token", "versions", "versioning", "versionId", "encryption",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OssAccount:
    """One RAM user of a running server."""

    front: OssFront
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
        key = (f"STS.{name}", f"{name}-temporary-secret", f"{name}-token")
        self.front.keys[key[0]] = Key(key[1], self.s3, key[2])
        return key


class OssFront(Front):
    prefix: ClassVar[str] = "x-oss-"
    conditions: ClassVar[str] = "x-oss-forbid-overwrite"
    spellings: ClassVar[dict[str, str]] = {
        "x-oss-server-side-encryption-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
        "KMS": "aws:kms",
        "IA": "STANDARD_IA",
        "Replace": "REPLACE",
    }

    def user(self, name: str, *buckets: str) -> OssAccount:
        """A RAM user who may do everything with these buckets (patterns such as ``alice-*``) and nothing else."""
        account = OssAccount(self, f"LTAI{name}", f"{name}-oss-secret", self.upstream.user(name, *buckets))
        self.keys[account.access_key] = Key(account.secret_key, account.s3)
        return account

    def locate(self, request: Request) -> tuple[str, str]:
        """Bucket in the host name (``bucket.oss-cn-hangzhou.aliyuncs.com``), by path only at an address of digits."""
        host = request.host.partition(":")[0]
        path = decoded_path(request.path)[1:]
        if re.fullmatch(r"[\d.]+|localhost", host):
            bucket, _, key = path.partition("/")
            return bucket, key
        return host.partition(".")[0], path

    def allowed(self, request: Request, key: str) -> None:
        if key and (key[0] in "/\\" or len(key.encode()) > 1023):
            raise Refused(400, "InvalidObjectName", "The specified object is not valid.")

    def verify(self, request: Request) -> Key:
        given = request.headers.get("authorization", "")
        if given.startswith("OSS4-HMAC-SHA256 "):
            return self._verify_v4(request, given)
        found = re.fullmatch(r"OSS ([^:]+):(.+)", given)
        if not found:
            raise Refused(403, "AccessDenied", "Anonymous access is forbidden for this operation.")
        key = self._key(request, found[1])
        self._check_time(parsedate_to_datetime(request.headers["date"]).timestamp())
        text = _v1_text(request, *self.locate(request))
        digest = hmac.new(key.secret.encode(), text.encode(), hashlib.sha1).digest()
        self._compare(base64.b64encode(digest).decode(), found[2])
        return key

    def _verify_v4(self, request: Request, given: str) -> Key:
        fields = dict(part.strip().split("=", 1) for part in given.partition(" ")[2].split(","))
        key_id, date, region, product, kind = fields["Credential"].split("/")
        key = self._key(request, key_id)
        if (region, product, kind) != (OSS_REGION, "oss", "aliyun_v4_request"):
            raise Refused(403, "SignatureDoesNotMatch", "Invalid scope in the credential.")
        stamp = request.headers["x-oss-date"]
        sent = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        self._check_time(sent.timestamp())
        additional = fields.get("AdditionalHeaders", "").split(";") if "AdditionalHeaders" in fields else []
        canonical = _v4_text(request, *self.locate(request), additional)
        scope = f"{date}/{region}/{product}/{kind}"
        text = f"OSS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signing = f"aliyun_v4{key.secret}".encode()
        for part in (date, region, product, kind):
            signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
        self._compare(hmac.new(signing, text.encode(), hashlib.sha256).hexdigest(), fields["Signature"])
        return key

    def _key(self, request: Request, key_id: str) -> Key:
        key = self.keys.get(key_id)
        if not key:
            raise Refused(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist.")
        if key.token != request.headers.get("x-oss-security-token", ""):
            raise Refused(403, "InvalidSecurityToken", "The security token you provided is invalid.")
        return key

    def _check_time(self, sent: float) -> None:
        if abs(time.time() - sent) > SKEW:
            raise Refused(403, "RequestTimeTooSkewed", "The difference of the clocks is too large.")

    def _compare(self, computed: str, given: str) -> None:
        if not hmac.compare_digest(computed, given):
            raise Refused(403, "SignatureDoesNotMatch", "The signature we calculated does not match.")

    def source(self, value: str) -> str:
        bucket, _, key = decoded_path(value).lstrip("/").partition("/")
        return f"{bucket}/{quote(key)}"

    def translate_error(self, answer: Answer) -> tuple[int, str]:
        if answer.status == 412:
            return 409, "FileAlreadyExists"
        return answer.status, answer.code

    def error(self, request: Request, status: int, code: str, message: str) -> Answer:
        """A HEAD has no body: its error stands in a header."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request_id()}</RequestId>"
            f"<HostId>{request.host}</HostId><EC>0000-00000000</EC></Error>"
        ).encode()
        headers = {"content-type": "application/xml", "x-oss-request-id": request_id()}
        if request.method == "HEAD":
            if code:
                headers["x-oss-err"] = base64.b64encode(body).decode()
            body = b""
        return Answer(status, headers, body)

    def ask(self, request: Request, account: S3Server, bucket: str, key: str) -> Answer:
        answer = super().ask(request, account, bucket, key)
        if self._is_lenient(request, answer):
            # Without the header that asks for the standard, a range that reaches past the end is no range.
            headers = {name: value for name, value in request.headers.items() if name != "range"}
            return super().ask(replace(request, headers=headers), account, bucket, key)
        return answer

    def _is_lenient(self, request: Request, answer: Answer) -> bool:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not found or request.headers.get("x-oss-range-behavior") == "standard":
            return False
        sent = re.fullmatch(r"bytes \d+-(\d+)/\d+", answer.headers.get("content-range", ""))
        return answer.status == 416 or bool(sent and found[2] and int(sent[1]) < int(found[2]))

    def after(self, request: Request, answer: Answer) -> Answer:
        headers, body = {**answer.headers, "x-oss-request-id": request_id()}, answer.body
        body = (
            body.replace(b"</ETag>", b"</ETag><Type>Normal</Type>") if b"<ListBucketResult" in body else body
        )
        body = with_elements(body, "ListMultipartUploadsResult", "NextKeyMarker", "NextUploadIdMarker")
        copied = re.search(rb"<Copy(?:Object|Part)Result.*<ETag>(?:&quot;|\")?([^<&\"]+)", body, re.DOTALL)
        if copied:
            headers["etag"] = f'"{copied[1].decode()}"'
        completed = re.search(
            rb"<CompleteMultipartUploadResult.*<ETag>(?:&quot;|\")?([^<&\"]+)", body, re.DOTALL
        )
        if completed:
            headers["etag"] = f'"{completed[1].decode()}"'
        return replace(answer, headers=headers, body=body)


def _v1_text(request: Request, bucket: str, key: str) -> str:
    headers = sorted((n, v.strip()) for n, v in request.headers.items() if n.startswith("x-oss-"))
    covered = sorted((name, value) for name, value in request.query if name in SUBRESOURCES)
    resource = f"/{bucket}/{key}" if bucket else "/"
    if covered:
        resource += "?" + "&".join(f"{name}={value}" if value else name for name, value in covered)
    return "\n".join(
        [
            request.method,
            request.headers.get("content-md5", ""),
            request.headers.get("content-type", ""),
            request.headers.get("date", ""),
            *(f"{name}:{value}" for name, value in headers),
            resource,
        ]
    )


def _v4_text(request: Request, bucket: str, key: str, additional: list[str]) -> str:
    uri = quote(f"/{bucket}/{key}" if bucket else "/", safe="/~")
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in request.query)
    headers = sorted(
        (name, value.strip())
        for name, value in request.headers.items()
        if name.startswith("x-oss-") or name in ("content-type", "content-md5") or name in additional
    )
    return "\n".join(
        [
            request.method,
            uri,
            "&".join(f"{name}={value}" if value else name for name, value in pairs),
            "".join(f"{name}:{value}\n" for name, value in headers),
            ";".join(sorted(additional)),
            request.headers.get("x-oss-content-sha256", ""),
        ]
    )


@contextmanager
def oss() -> Iterator[OssFront]:
    with upstream() as server:
        front = OssFront(server)
        with serving(front):
            yield front
