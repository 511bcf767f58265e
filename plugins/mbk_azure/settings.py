"""What can be set for an Azure container, and what follows from it. No SDK, no request."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from mbk.plugin import StorageSettings
from mbk.plugin.fields import ExistingFile, Host, MilvusHost, MilvusPort, Port, joined
from mbk.ports.storage import WRITE_OPTIONS
from mbk_azure.connection import Connection, parse

#: The canonical name, and `Location.backend` of every container.
NAME = "azure"
PUBLIC_CLOUD = "core.windows.net"

#: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_CONTAINER = re.compile(r"\$(root|web|logs)|(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")

Credential = Literal["chain", "connection string", "sas", "shared key"]


class AzureSettings(StorageSettings):
    """Settings of one container of a storage account.

    Of `account_key`, `sas_token` and `connection_string` one is given; ``use_iam`` wins over them, because the classic
    configuration file ships with keys filled in. With none the SDK's chain decides (``DefaultAzureCredential``:
    environment, workload and managed identity, the developer tools). ``iam_endpoint`` is the authority that the chain
    asks, for clouds of their own.

    ``path_style`` puts the account into the path, as emulators want it; by default where the host is an IP address
    or has no dot. A connection string says all of this itself.

    ``write_options`` tells of an account that honours other options of a write than its kind does: a retention needs
    a container with version-level immutability, tags need an account without a hierarchical namespace.
    """

    #: What a file says for other vendors' storages and is no credential, so that ``--storage azure`` works on it.
    ignored: ClassVar[frozenset[str]] = frozenset({"region", "local_path"})

    use_iam: bool = Field(False, description="DefaultAzureCredential instead of keys")
    connection_string: SecretStr = Field(
        SecretStr(""), description="account, endpoint and credential in one, as the portal shows it"
    )
    account_name: str = Field("", validate_default=True, description="the storage account")
    account_key: SecretStr = Field(SecretStr(""), description="one of the account's two keys")
    sas_token: SecretStr = Field(SecretStr(""), description="a shared access signature of the container")
    address: Host = Field(PUBLIC_CLOUD, description="domain of the cloud, or an emulator's host")
    port: Port = Field(None, description="its port; by default 443 or 80")
    use_ssl: bool | None = Field(
        None, description="https; always on the default ports of a cloud, else as set"
    )
    ca_cert: ExistingFile = Field("", description="PEM file of a private certificate authority")
    path_style: bool | None = Field(None, description="account in the path; by default with an emulator")
    iam_endpoint: str = Field("", description="authority that the identity is proved to")
    milvus_address: MilvusHost = Field("", description="the account's whole host name as Milvus reaches it")
    milvus_port: MilvusPort = None
    bucket: str = Field("", validate_default=True, description="the container")
    write_options: frozenset[str] | None = Field(
        None,
        description="the options of a write that the service honours; by default a cloud's or an emulator's",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_connection_string(cls, data: Any) -> Any:
        """A connection string stands for the other settings; what is wrong with it is told by its own validator."""
        text = _plain(data.get("connection_string")) if isinstance(data, dict) else ""
        if not text or data.get("use_iam"):
            return data
        try:
            found = parse(text)
        except ValueError:
            return data
        account = data.get("account_name")
        return {**data, "account_name": found.account if not account or account == found.account else account}

    @field_validator("connection_string")
    @classmethod
    def _connection_string(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            parse(value.get_secret_value())
        return value

    @field_validator("account_name")
    @classmethod
    def _account(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            raise ValueError("a storage account is needed: its name, or a connection string")
        if not _ACCOUNT.fullmatch(value):
            raise ValueError(f"{value!r} cannot be a storage account: write lower-case letters and digits")
        text = _plain(info.data.get("connection_string"))
        if text and parse(text).account != value:
            raise ValueError("the connection string names another account: set one of the two")
        return value

    @field_validator("account_key")
    @classmethod
    def _key(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        _alone(value, info)
        try:
            base64.b64decode(value.get_secret_value(), validate=True)
        except binascii.Error:
            raise ValueError(
                "the account key is not whole: it is base64 text, usually of 88 characters"
            ) from None
        return value

    @field_validator("sas_token")
    @classmethod
    def _sas(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        _alone(value, info)
        token = value.get_secret_value().removeprefix("?")
        if token and "sig=" not in token:
            raise ValueError("that is no shared access signature: its part sig= is missing")
        return SecretStr(token)

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        return value or PUBLIC_CLOUD

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if not value:
            raise ValueError("a bucket is needed: the container")
        if not _CONTAINER.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be a container: write 3 to 63 lower-case letters, digits and single hyphens"
            )
        return value

    @property
    def connection(self) -> Connection:
        """Where requests go and with what, from the connection string or from the single settings."""
        if self.credential == "connection string":
            return parse(self.connection_string.get_secret_value())
        scheme = "https" if self.tls else "http"
        if self.by_path:
            url = f"{scheme}://{self.endpoint}/{self.account_name}"
        else:
            url = f"{scheme}://{self.account_name}.blob.{self.endpoint}"
        return Connection(
            url=url.removesuffix(f":{443 if self.tls else 80}"),
            account=self.account_name,
            endpoint=self.endpoint,
            key=_plain(self.account_key) if self.credential == "shared key" else "",
            sas=_plain(self.sas_token) if self.credential == "sas" else "",
        )

    @property
    def credential(self) -> Credential:
        if self.use_iam:
            return "chain"
        if _plain(self.connection_string):
            return "connection string"
        if _plain(self.sas_token):
            return "sas"
        return "shared key" if _plain(self.account_key) else "chain"

    @property
    def domain(self) -> str:
        """The address without the account, where somebody wrote the whole host name of the account."""
        return self.address.removeprefix(f"{self.account_name}.blob.")

    @property
    def honoured_options(self) -> frozenset[str]:
        """An emulator ignores retentions and encryption scopes."""
        if self.write_options is not None:
            return self.write_options
        return frozenset({"storage_class", "tags"}) if self.by_path else WRITE_OPTIONS

    @property
    def by_path(self) -> bool:
        if self.path_style is not None:
            return self.path_style
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            return "." not in self.address
        return True

    @property
    def tls(self) -> bool:
        """As the classic tool always https to a cloud, whatever the file's ``useSSL`` says; an emulator as set."""
        if not self.by_path and self.port in (None, 443):
            return True
        if self.use_ssl is not None:
            return self.use_ssl
        return self.port == 443 or not self.by_path

    @property
    def endpoint(self) -> str:
        """``host:port`` without the account, always with a port, so that two ways of writing it compare equal."""
        return joined(self.domain, self.port or (443 if self.tls else 80))


def _alone(value: SecretStr, info: ValidationInfo) -> None:
    others = [name for name in ("connection_string", "account_key") if _plain(info.data.get(name))]
    if _plain(value) and others and not info.data.get("use_iam"):
        other = others[0].replace("_", " ")
        raise ValueError(f'the {other} is set too: set one of the two, the other to "" where it is inherited')


def _plain(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
