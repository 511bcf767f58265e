"""The Zilliz Cloud calls of `migrate`, over real HTTP, handing out real temporary credentials of an S3 test server.

The credentials may put and list below the volume's path and nothing else, so that a client that reads back or heads is
caught. Sources: pymilvus ``bulk_writer/volume_file_manager.py`` (fields of the answer), the public REST
reference of the service. The service itself was never asked.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from tests.milvus_double.faults import Faults
from tests.milvus_double.http_port import Answered, Asked, HttpPort
from tests.servers.s3 import Ministack

APPLY, START = "/v2/volumes/apply", "/v2/migrations/startByRemote"
BAD_KEY, NO_CLUSTER, NO_DATA, BAD_REQUEST = 80001, 40021, 40022, 40001
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


@dataclass(frozen=True, slots=True)
class Applied:
    """One answer to an application."""

    cluster: str
    path: str
    access_key: str


@dataclass(frozen=True, slots=True)
class Migration:
    job: str
    cluster: str
    path: str
    backup: dict[str, Any]
    keys: Sequence[str]


@dataclass(slots=True)
class ZillizCloud:
    """A context manager. ``lifetime`` is what answers say of the credentials.

    The keys of the first ``run_out`` applications have ended before their time: they still list, and put nothing.
    """

    storage: Ministack
    bucket: str
    api_key: str = "cloud-api-key"
    clusters: frozenset[str] = frozenset({"in01-cluster"})
    lifetime: timedelta = timedelta(hours=1)
    run_out: int = 0
    max_files: int = 10_000
    max_bytes: int = 1 << 40
    faults: Faults = field(default_factory=Faults)
    applied: list[Applied] = field(default_factory=list)
    migrations: list[Migration] = field(default_factory=list)
    volume: str = "volume-1"
    _port: HttpPort | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        routes = {("POST", APPLY): self._apply, ("POST", START): self._start}
        self._port = HttpPort(routes, faults=self.faults).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._port is not None:
            self._port.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        assert self._port is not None, "the cloud is not open"
        return self._port.url

    def _apply(self, asked: Asked) -> Answered:
        if refused := self._refusal(asked, asked.body and asked.body.get("clusterId")):
            return refused
        path = str(asked.body.get("path") or "").strip("/")
        if not path:
            return _error(BAD_REQUEST, "path is missing")
        prefix = self._prefix(path)
        keys = self._credentials(prefix)
        self.applied.append(Applied(asked.body["clusterId"], path, keys["AccessKeyId"]))
        expires = datetime.now(UTC) + self.lifetime
        return Answered.json(
            {
                "code": 0,
                "data": {
                    "volumeName": self.volume,
                    "cloud": "aws",
                    "region": self.storage.region,
                    "endpoint": self.storage.url,
                    "bucketName": self.bucket,
                    "uploadPath": prefix,
                    "credentials": {
                        "tmpAK": keys["AccessKeyId"],
                        "tmpSK": keys["SecretAccessKey"],
                        "sessionToken": keys["SessionToken"],
                        "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    },
                    "condition": {"maxContentLength": self.max_bytes, "maxFileNumber": self.max_files},
                },
            }
        )

    def _start(self, asked: Asked) -> Answered:
        """Looks at what was uploaded, as the service does when it takes it in."""
        source = (asked.body or {}).get("source") or {}
        cluster = ((asked.body or {}).get("destination") or {}).get("clusterId")
        if refused := self._refusal(asked, cluster):
            return refused
        path = str(source.get("dataPath") or "").strip("/")
        if source.get("stageName") != self.volume or not path:
            return _error(NO_DATA, f"volume {source.get('stageName')} is unknown, or no path is given")
        prefix = self._prefix(path)
        keys = self._keys(prefix)
        if f"{prefix}meta/full_meta.json" not in keys:
            return _error(NO_DATA, f"no backup below {path}")
        backup = json.loads(self._read(f"{prefix}meta/full_meta.json"))
        relative = [key.removeprefix(prefix) for key in keys]
        job = f"job-{uuid.uuid4()}"
        self.migrations.append(Migration(job, str(cluster), path, backup, relative))
        return Answered.json({"code": 0, "data": {"jobId": job}})

    def _refusal(self, asked: Asked, cluster: Any) -> Answered | None:
        if asked.headers.get("authorization") != f"Bearer {self.api_key}":
            return Answered.json({"code": BAD_KEY, "message": "the API key is invalid"}, 401)
        if not isinstance(asked.body, dict):
            return _error(BAD_REQUEST, "the body is no JSON object")
        if cluster not in self.clusters:
            return _error(NO_CLUSTER, f"cluster {cluster} does not exist")
        return None

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.storage.client(service)
        return self._clients[service]

    def _prefix(self, path: str) -> str:
        return f"upload/{self.volume}/{path}/"

    def _credentials(self, prefix: str) -> dict[str, str]:
        iam, name = self._client("iam"), f"volume-{uuid.uuid4().hex[:12]}"
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST))
        policy = json.dumps(_policy(self.bucket, prefix, puts=len(self.applied) >= self.run_out))
        iam.put_role_policy(RoleName=name, PolicyName="volume", PolicyDocument=policy)
        sts = self._client("sts")
        answer = sts.assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="upload", DurationSeconds=900)
        credentials: dict[str, str] = answer["Credentials"]
        return credentials

    def _keys(self, prefix: str) -> list[str]:
        pages = (
            self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def _read(self, key: str) -> bytes:
        answer: bytes = self._client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return answer


def _error(code: int, message: str) -> Answered:
    """The service answers 200 to what it refuses."""
    return Answered.json({"code": code, "message": message})


def _policy(bucket: str, prefix: str, *, puts: bool) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow" if puts else "Deny",
                "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": [f"arn:aws:s3:::{bucket}/{prefix}*"],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}},
            },
        ],
    }
