"""What can be set for a bucket of Google Cloud Storage, and what follows from it. No SDK, no request."""

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
    SecretOfKey,
    joined,
)

#: The canonical name, and `Location.backend` of every bucket, with whatever credentials it is opened.
NAME = "gcp"
SERVICE = "storage.googleapis.com"

# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
# https://cloud.google.com/storage/docs/authentication/hmackeys: every access id of Google's begins so.
_HMAC_ID = "GOOG"


class GcpSettings(StorageSettings):
    """Settings of one bucket.

    One way in is used: ``use_iam`` (the application default credentials, whatever else is set, because the classic
    configuration file ships with keys filled in), else ``credentials_file`` (a service account's key), else
    ``session_token`` (an OAuth access token), else HMAC keys, else the application default credentials. Two of the
    middle three at once are refused, but keys that cannot be Google's (MinIO's, left over in a classic file) are
    passed over beside a file or a token.

    ``address`` is the service's, one of its regional or private names, or an emulator's host. Google's own hosts are
    always asked by https at port 443, for they take tokens.
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"local_path"})

    address: Host = Field("", description="host name; by default Google's, else an emulator's")
    port: Port = Field(None, description="an emulator's port; by default 443 or 80")
    region: str = Field("", description="location of a bucket that mbk makes; by default US")
    use_ssl: bool | None = Field(None, description="https to an emulator; by default with port 443")
    ca_cert: ExistingFile = Field("", description="PEM file of a private certificate authority")
    path_style: bool | None = Field(None, description="with HMAC keys: bucket in the path, the default")
    milvus_address: MilvusHost = ""
    milvus_port: MilvusPort = None
    bucket: NeededBucket = Field("", validate_default=True, description="the bucket")
    use_iam: bool = Field(False, description="application default credentials, whatever else is set")
    credentials_file: ExistingFile = Field("", description="JSON key file of a service account")
    session_token: SecretStr = Field(SecretStr(""), description="OAuth access token")
    access_key_id: str = Field("", description="access id of an HMAC key")
    secret_access_key: SecretOfKey = Field(
        SecretStr(""), validate_default=True, description="secret of the HMAC key"
    )
    write_options: frozenset[str] | None = Field(
        None,
        description="the options of a write that the service honours; by default Google's, and no emulator's",
    )

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be a bucket: write 3 or more lower-case letters, digits, dots, hyphens, underscores"
            )
        return value

    @field_validator("session_token")
    @classmethod
    def _token(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value.get_secret_value() and info.data.get("credentials_file") and not info.data.get("use_iam"):
            raise ValueError("a token and a credentials file are two ways in: set one of them to ''")
        return value

    @field_validator("access_key_id")
    @classmethod
    def _access_key(cls, value: str, info: ValidationInfo) -> str:
        other = info.data.get("credentials_file") or _plain(info.data.get("session_token"))
        if value.startswith(_HMAC_ID) and other and not info.data.get("use_iam"):
            raise ValueError(
                "HMAC keys and a credentials file or token are two ways in: set one of them to ''"
            )
        return value

    @property
    def host(self) -> str:
        return self.address or SERVICE

    @property
    def is_google(self) -> bool:
        return self.host.endswith(".googleapis.com")

    @property
    def honoured_options(self) -> frozenset[str]:
        """With a token. Google's objects have no tags; a retention needs a bucket that was made for it."""
        if self.write_options is not None:
            return self.write_options
        return frozenset({"retention", "storage_class", "encryption_key"} if self.is_google else ())

    @property
    def tls(self) -> bool:
        if self.is_google:
            return True
        return self.port == 443 if self.use_ssl is None else self.use_ssl

    @property
    def effective_port(self) -> int:
        default = 443 if self.tls else 80
        return default if self.is_google else self.port or default

    @property
    def endpoint(self) -> str:
        """``host:port``, always with a port, so that two ways of writing it compare equal."""
        return joined(self.host, self.effective_port)

    @property
    def url(self) -> str:
        """The service's base URL, without a trailing ``/``."""
        if self.is_google:
            return f"https://{self.host}"
        return f"{'https' if self.tls else 'http'}://{self.endpoint}"

    @property
    def hmac_keys(self) -> tuple[str, str] | None:
        """The keys for the S3 dialect, None where another way in was chosen."""
        if self.use_iam or self.credentials_file or _plain(self.session_token) or not self.access_key_id:
            return None
        return self.access_key_id, self.secret_access_key.get_secret_value()


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
