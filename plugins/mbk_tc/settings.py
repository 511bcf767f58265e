"""What can be set for a COS bucket, and what follows from it. No SDK, no request."""

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

#: BucketName-APPID (cloud.tencent.com, "Bucket overview").
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
#: The public names of one region, the old and the new domain. The first is that of the region's endpoint.
_REGION_HOST = re.compile(
    r"(?:[a-z0-9-]+\.)?(cos(?:-internal)?\.([a-z]+-[a-z0-9-]+)\.(?:myqcloud\.com|tencentcos\.cn))"
)
_IP = re.compile(r"\d+\.\d+\.\d+\.\d+|localhost")


def region_of(host: str) -> str:
    """The region of one of the vendor's own addresses, empty for any other."""
    match = _REGION_HOST.fullmatch(host)
    return match[2] if match else ""


class TcSettings(StorageSettings):
    """Settings of one bucket, whose name ends with the account's APPID. The address follows from the region.

    The bucket stands in the host name: COS serves no other style to buckets of today, and the SDK knows none. An
    address of digits (an emulator, a private link) is connected to as it is, with that name in the Host header.

    ``use_iam`` wins over keys, because the classic configuration file ships with keys filled in: credentials of the
    role for the service account where the environment names an OIDC token (TKE), else of the CVM instance's role.
    ``iam_endpoint`` replaces the STS address or the base of the metadata service. With neither keys nor ``use_iam``
    the environment decides (:mod:`mbk_tc.credentials`).
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"local_path"})

    address: Host = Field(
        "", description="host name of the region's endpoint; by default the region's public one"
    )
    port: Port = Field(None, description="its port; by default 443, or 80 without TLS")
    region: str = Field("", validate_default=True, description="region, ap-nanjing; by default the address's")
    use_ssl: bool | None = Field(None, description="https; by default except with port 80")
    ca_cert: ExistingFile = Field("", description="PEM file of a private certificate authority")
    path_style: bool | None = Field(None, description="false, if set: COS wants the bucket in the host name")
    access_key_id: str = Field("", description="SecretId")
    secret_access_key: SecretOfKey = Field(SecretStr(""), validate_default=True, description="SecretKey")
    session_token: SecretStr = Field(SecretStr(""), description="token of temporary keys")
    use_iam: bool = Field(False, description="credentials of the machine's CAM role instead of keys")
    iam_endpoint: str = Field("", description="where the role's credentials come from")
    milvus_address: MilvusHost = ""
    milvus_port: MilvusPort = None
    root_path: RelativeRoot = ""
    bucket: NeededBucket = Field(
        "", validate_default=True, description="the bucket, with the APPID: data-1250000000"
    )

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be a bucket: write its name and the APPID, as in data-1250000000"
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
            raise ValueError("an address or a region is needed: cos.ap-nanjing.myqcloud.com, or ap-nanjing")
        return value.removeprefix("cos.")

    @field_validator("path_style")
    @classmethod
    def _path_style(cls, value: bool | None) -> bool | None:
        if value:
            raise ValueError("COS wants the bucket in the host name")
        return value

    @property
    def tls(self) -> bool:
        return self.port != 80 if self.use_ssl is None else self.use_ssl

    @property
    def host(self) -> str:
        return self.address or f"cos.{self.region}.myqcloud.com"

    @property
    def endpoint(self) -> str:
        """``host:port``, always with a port, so that two ways of writing it compare equal."""
        return f"{self.host}:{self.port or self._default_port}"

    @property
    def authority(self) -> str:
        """What stands in a URL behind the bucket: a default port is left out, as it is in the Host header."""
        return self.host if self.port in (None, self._default_port) else self.endpoint

    @property
    def without_names(self) -> bool:
        """Whether the address is no domain, so that nothing can stand before it."""
        return bool(_IP.fullmatch(self.host))

    @property
    def milvus_endpoint(self) -> str:
        """``host:port`` as Milvus reaches the service where that is another way than ours, else empty."""
        if not (self.milvus_address or self.milvus_port):
            return ""
        return f"{self.milvus_address or self.host}:{self.milvus_port or self.port or self._default_port}"

    @property
    def home_region(self) -> str:
        """The region that the address names, empty where it is none of Tencent Cloud's."""
        return region_of(self.host)

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
