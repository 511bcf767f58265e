"""What can be set for an OSS bucket, and what follows from it. No SDK, no request."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from mbk.plugin import StorageSettings
from mbk.plugin.fields import (
    ExistingFile,
    Host,
    MilvusHost,
    MilvusPort,
    NeededBucket,
    Port,
    RelativeRoot,
    SecretOfKey,
)

# The names that OSS allows, and that oss2 insists on.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
#: Public, internal and S3-compatible names of one region: only the first two speak OSS's own protocol.
_REGION_HOST = re.compile(r"(?:s3\.)?(oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com)")


def region_of(host: str) -> str:
    """The region of one of the vendor's own addresses, empty for any other."""
    match = _REGION_HOST.fullmatch(host)
    return match[2] if match else ""


class AliSettings(StorageSettings):
    """Settings of one bucket. The address follows from the region, or the region from the address.

    With a region requests are signed with OSS's signature V4, without one with V1, which newer accounts refuse.

    ``use_iam`` wins over keys, because the classic configuration file ships with keys filled in: credentials of the
    RAM role for the service account where the environment names an OIDC token (ACK's RRSA), else of the ECS
    instance's RAM role. ``iam_endpoint`` replaces the STS address or the base of the metadata service. With neither
    keys nor ``use_iam`` the environment decides (:mod:`mbk_ali.credentials`).
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"local_path"})

    address: Host = Field(
        "", description="host name of the region's endpoint; by default the region's public one"
    )
    port: Port = Field(None, description="its port; by default 443, or 80 without TLS")
    region: str = Field(
        "", validate_default=True, description="region, cn-hangzhou; by default the address's"
    )
    use_ssl: bool | None = Field(None, description="https; by default except with port 80")
    ca_cert: ExistingFile = Field("", description="PEM file of a private certificate authority")
    path_style: bool | None = Field(None, description="bucket in the path; OSS itself refuses it")
    access_key_id: str = Field("", description="AccessKey ID")
    secret_access_key: SecretOfKey = Field(
        SecretStr(""), validate_default=True, description="AccessKey secret"
    )
    session_token: SecretStr = Field(SecretStr(""), description="STS token of temporary keys")
    use_iam: bool = Field(False, description="credentials of the machine's RAM role instead of keys")
    iam_endpoint: str = Field("", description="where the role's credentials come from")
    milvus_address: MilvusHost = ""
    milvus_port: MilvusPort = None
    root_path: RelativeRoot = ""
    bucket: NeededBucket = Field("", validate_default=True, description="the bucket")

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be a bucket: write 3 to 63 lower-case letters, digits and hyphens"
            )
        return value

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("write a host name or an IPv4 address")
        match = _REGION_HOST.fullmatch(value)
        return match[1] if match else value

    @field_validator("region")
    @classmethod
    def _region(cls, value: str, info: ValidationInfo) -> str:
        if not value and not info.data.get("address"):
            raise ValueError("an address or a region is needed: oss-cn-hangzhou.aliyuncs.com, or cn-hangzhou")
        return value.removeprefix("oss-")

    @property
    def tls(self) -> bool:
        return self.port != 80 if self.use_ssl is None else self.use_ssl

    @property
    def host(self) -> str:
        return self.address or f"oss-{self.region}.aliyuncs.com"

    @property
    def endpoint(self) -> str:
        """``host:port``, always with a port, so that two ways of writing it compare equal."""
        return f"{self.host}:{self.port or self._default_port}"

    @property
    def url(self) -> str:
        """What the SDK is given. A default port is left out, as it is in the Host header."""
        scheme = "https" if self.tls else "http"
        port = "" if self.port in (None, self._default_port) else f":{self.port}"
        return f"{scheme}://{self.host}{port}"

    @property
    def milvus_endpoint(self) -> str:
        """``host:port`` as Milvus reaches the service where that is another way than ours, else empty."""
        if not (self.milvus_address or self.milvus_port):
            return ""
        return f"{self.milvus_address or self.host}:{self.milvus_port or self.port or self._default_port}"

    @property
    def home_region(self) -> str:
        """The region that the address names, empty where it is none of Alibaba Cloud's."""
        return region_of(self.host)

    @property
    def signing_region(self) -> str:
        """The region to sign for with V4, empty for V1."""
        return self.region or self.home_region

    @property
    def static_keys(self) -> tuple[str, str, str] | None:
        """Id, secret and token ("" for none) to sign with, None for the role or the environment."""
        if self.use_iam or not self.access_key_id:
            return None
        return (
            self.access_key_id,
            self.secret_access_key.get_secret_value(),
            self.session_token.get_secret_value(),
        )

    @property
    def _default_port(self) -> int:
        return 443 if self.tls else 80
