"""What can be set for an S3 storage, and what follows from it. No SDK, no request."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from mbk.plugin import StorageSettings
from mbk.plugin.fields import (
    ExistingFile,
    Host,
    MilvusHost,
    MilvusPort,
    NeededBucket,
    Port,
    SecretOfKey,
    joined,
)
from mbk_s3.profiles import AWS, MINIO, S3, Profile
from mbk_s3.services import Service, service_at

DEFAULT_REGION = "us-east-1"

_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_AWS_HOST = re.compile(r"s3(?:[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?")


class S3Settings(StorageSettings):
    """Settings of one bucket. What is left out is filled from the profile (:mod:`mbk_s3.profiles`).

    A subclass names its profile as ``profile_of_service``; that is all a further S3 service needs.

    ``use_iam`` wins over keys, because the classic configuration file ships with keys filled in. With neither, and
    where the profile has no keys of its own, the SDK's chain decides: environment, shared files (``profile``),
    container, instance. ``iam_endpoint`` is where a role's credentials come from: the STS endpoint when the
    environment names a web identity, the credentials URL in a container, else the base of the metadata service.

    ``conditional_write`` and ``part_copy`` tell of a server that can do less than S3 (rclone, some gateways), and
    ``write_options`` of one that honours other options of a write than its profile says.
    """

    profile_of_service: ClassVar[Profile]
    #: What a file says of other vendors' storages, so that ``--storage s3`` works on it.
    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "account_name",
            "account_key",
            "connection_string",
            "sas_token",
            "credentials_file",
            "local_path",
        }
    )

    address: Host = Field("", validate_default=True, description="host name of the service")
    port: Port = Field(None, description="its port; by default 443 or 80, MinIO's 9000")
    region: str = Field(
        "", validate_default=True, description="region to sign for; by default the host's, or us-east-1"
    )
    use_ssl: bool | None = Field(None, description="https; by default with port 443, and to Amazon")
    ca_cert: ExistingFile = Field("", description="PEM file of a private certificate authority")
    path_style: bool | None = Field(None, description="bucket in the path; by default except to Amazon")
    access_key_id: str = Field("", description="access key")
    secret_access_key: SecretOfKey = Field(
        SecretStr(""), validate_default=True, description="secret of the access key"
    )
    session_token: SecretStr = Field(SecretStr(""), description="token of temporary keys")
    use_iam: bool = Field(False, description="credentials of the machine's role instead of keys")
    iam_endpoint: str = Field("", description="where the role's credentials come from")
    profile: str = Field("", description="profile in the shared AWS files")
    milvus_address: MilvusHost = ""
    milvus_port: MilvusPort = None
    bucket: NeededBucket = Field("", validate_default=True, description="the bucket")
    conditional_write: bool = Field(True, description="whether the service honours If-None-Match")
    part_copy: bool = Field(True, description="whether the service can copy parts")

    write_options: frozenset[str] | None = Field(
        None, description="the options of a write that the service honours; by default the profile's"
    )

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be a bucket: write 3 or more letters, digits, dots, hyphens, underscores"
            )
        return value

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        service = cls.profile_of_service
        if not (value or service.address or service.regional):
            raise ValueError("an address is needed: the host name of the S3 service")
        return value

    @field_validator("region")
    @classmethod
    def _region(cls, value: str, info: ValidationInfo) -> str:
        if "{region}" in cls.profile_of_service.address and not (value or info.data.get("address", "?")):
            raise ValueError("a region or an address is needed")
        return value

    @property
    def honoured_options(self) -> frozenset[str]:
        if self.write_options is not None:
            return self.write_options
        return self.profile_of_service.write_options - (self.known.refuses if self.known else frozenset())

    @property
    def known(self) -> Service | None:
        """The service, where its host tells it."""
        return service_at(self.address)

    @property
    def tls(self) -> bool:
        if self.use_ssl is not None:
            return self.use_ssl
        speaks_it = self.profile_of_service.tls or self.known is not None
        return self.port == 443 or (speaks_it and self.port != 80)

    @property
    def host(self) -> str:
        """The host to ask. A plain Amazon host gives way to that of the region, which answers without redirecting."""
        service = self.profile_of_service
        plain = not self.address or _AWS_HOST.fullmatch(self.address)
        if service.is_amazon and plain and "dualstack" not in self.address:
            suffix = ".cn" if self.signing_region.startswith("cn-") else ""
            return f"s3.{self.signing_region}.amazonaws.com{suffix}"
        return self.address or service.address.format(region=self.signing_region)

    @property
    def is_at_amazon(self) -> bool:
        return _AWS_HOST.fullmatch(self.host) is not None

    @property
    def endpoint(self) -> str:
        """``host:port``, always with a port, so that two ways of writing it compare equal."""
        default = 443 if self.tls else 80
        port = self.port or (None if self.known else self.profile_of_service.port) or default
        return joined(self.host, port)

    @property
    def signing_region(self) -> str:
        """The region that requests are signed for: as set, as the host says, as the environment says, or the default."""
        return self.region or self._region_of_address() or self._ambient_region() or DEFAULT_REGION

    def _region_of_address(self) -> str | None:
        if self.known is not None:
            return self.known.region_of(self.address)
        own_hosts = re.escape(self.profile_of_service.address).replace(r"\{region\}", "([a-z0-9-]+)")
        match = _AWS_HOST.fullmatch(self.address) or re.fullmatch(own_hosts, self.address)
        return match[1] if match and match.re.groups else None

    def _ambient_region(self) -> str | None:
        if not self.profile_of_service.is_amazon:
            return None
        from mbk_s3.ambient import ambient_region

        return ambient_region(self.profile)

    @property
    def milvus_endpoint(self) -> str:
        """``host:port`` as Milvus reaches the service where that is another way than ours, else empty."""
        if not (self.milvus_address or self.milvus_port):
            return ""
        default = int(self.endpoint.rpartition(":")[2])
        return joined(self.milvus_address or self.host, self.milvus_port or default)

    @property
    def addressing_style(self) -> Literal["path", "virtual"]:
        """The habit is the profile's; a bucket that is no host name, or would not match a certificate, goes by path."""
        by_path = self.path_style
        if by_path is None:
            habit = self.known.path_style if self.known else self.profile_of_service.path_style
            by_path = habit or not _HOST_LABEL.fullmatch(self.bucket)
        return "path" if by_path else "virtual"

    @property
    def static_keys(self) -> tuple[str, str] | None:
        """The keys to sign with, None for the SDK's chain."""
        if self.use_iam:
            return None
        if self.access_key_id:
            return self.access_key_id, self.secret_access_key.get_secret_value()
        return None if self.profile else self.profile_of_service.keys


class MinioSettings(S3Settings):
    profile_of_service = MINIO


class GenericSettings(S3Settings):
    profile_of_service = S3


class AwsSettings(S3Settings):
    profile_of_service = AWS


BY_NAME: dict[str, type[S3Settings]] = {"minio": MinioSettings, "s3": GenericSettings, "aws": AwsSettings}
