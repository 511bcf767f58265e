"""Real S3 servers.

`ministack` checks signatures and policies and does nearly all of S3: the default. `rclone` is fast and does less.
`moto` checks no signatures; it has STS and a metadata service.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import botocore.session
from botocore.config import Config

from mbk.ports.storage import Retention, WriteOptions
from tests.servers.process import HOST, free_port, listening, running, script

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server and one account on it."""

    port: int
    access_key: str
    secret_key: str
    host: str = HOST
    region: str = REGION

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def settings(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The values of a storage's settings, in mbk's vocabulary."""
        return {
            "address": self.host,
            "port": self.port,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "bucket": bucket,
            **more,
        }

    def client(self, service: str = "s3") -> Any:
        """The vendor's SDK, to arrange and to look from outside of mbk."""
        session: Any = botocore.session.Session()
        return session.create_client(
            service,
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def make_bucket(self, bucket: str) -> str:
        self.client().create_bucket(Bucket=bucket)
        return bucket

    def behind(self, port: int) -> S3Server:
        """The same account, reached through another port (a proxy's)."""
        return replace(self, port=port)


@dataclass(frozen=True, slots=True)
class Ministack(S3Server):
    """``access_key`` is the root's, whose signatures the server does not check: use a `user`'s."""

    def user(self, name: str, *buckets: str) -> S3Server:
        """An IAM user who may do everything with these buckets (patterns such as ``alice-*``) and nothing else."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        resources = [f"arn:aws:s3:::{bucket}{below}" for bucket in buckets for below in ("", "/*")]
        self.allow(name, "own", ["s3:*"], resources)
        return S3Server(self.port, key["AccessKeyId"], key["SecretAccessKey"])

    def allow(self, user: str, policy: str, actions: list[str], resources: list[str]) -> None:
        self._put_policy(user, policy, "Allow", actions, resources)

    def forbid(self, user: str, policy: str, actions: list[str], resources: list[str]) -> None:
        self._put_policy(user, policy, "Deny", actions, resources)

    def withdraw(self, user: str, policy: str) -> None:
        self.client("iam").delete_user_policy(UserName=user, PolicyName=policy)

    def _put_policy(
        self, user: str, policy: str, effect: str, actions: list[str], resources: list[str]
    ) -> None:
        statement = {"Effect": effect, "Action": actions, "Resource": resources}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client("iam").put_user_policy(UserName=user, PolicyName=policy, PolicyDocument=document)


def options_of(server: S3Server, bucket: str, key: str) -> WriteOptions:
    """What the service itself says of an object."""
    client = server.client()
    head = client.head_object(Bucket=bucket, Key=key)
    mode = head.get("ObjectLockMode")
    tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return WriteOptions(
        storage_class=head.get("StorageClass", ""),
        encryption_key=head.get("SSEKMSKeyId", ""),
        tags={tag["Key"]: tag["Value"] for tag in tags},
        retention=Retention(mode=mode.lower(), until=head["ObjectLockRetainUntilDate"]) if mode else None,
    )


@contextmanager
def ministack() -> Iterator[Ministack]:
    port = free_port()
    env = {
        # Without it the server listens everywhere.
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "AUTH": "true",
        "SERVICES": "s3,iam,sts,imds",
        "IOT_MTLS_ENABLED": "0",
        "AWS_ACCESS_KEY_ID": "root",
        "AWS_SECRET_ACCESS_KEY": "rootsecret",
    }
    with running([sys.executable, "-m", "ministack"], env=env, ready=listening(port)):
        yield Ministack(port, "root", "rootsecret")


@contextmanager
def rclone() -> Iterator[S3Server]:
    """No part copy, no conditions, no markers, ``//`` or 1,024-byte keys; rarely answers 500 for no reason."""
    port = free_port()
    key, secret = "rclone-key", "rclone-secret"
    command = [script("rclone"), "serve", "s3", "--config", "/dev/null", "--addr", f"{HOST}:{port}"]
    with running([*command, "--auth-key", f"{key},{secret}", ":memory:"], ready=listening(port)):
        yield S3Server(port, key, secret)


@contextmanager
def moto() -> Iterator[S3Server]:
    """Signatures are not checked."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with running(command, ready=listening(port)):
        yield S3Server(port, "moto-key", "moto-secret")
