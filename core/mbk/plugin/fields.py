"""For settings classes: the types of fields that most storages have, which refuse what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo


def _host(value: str) -> str:
    if "/" in value:
        raise ValueError("write the host name alone; https is chosen by useSSL")
    if value.count(":") == 1:
        raise ValueError("write the host name alone; the port has a key of its own")
    return value.strip("[]").lower()


def _file(value: str) -> str:
    if value and not Path(value).is_file():
        raise ValueError(f"there is no file {value!r}")
    return value


def _needed(value: str) -> str:
    if not value:
        raise ValueError("a bucket is needed")
    return value


def _relative(value: str) -> str:
    if value.startswith("\\"):
        raise ValueError("leave the leading backslash out: no key of this storage begins with one")
    return value.strip("/")


def _secret(value: SecretStr, info: ValidationInfo) -> SecretStr:
    known = info.data.get("access_key_id")
    if known is not None and bool(value.get_secret_value()) != bool(known):
        raise ValueError("the access key id and the secret access key go together: set both or none")
    return value


#: A host name or an IP address, in lower case, IPv6 without brackets; empty when left out.
Host = Annotated[str, AfterValidator(_host)]
#: None when left out.
Port = Annotated[int | None, Field(ge=1, le=65535)]
#: The path of a file that is there; empty when left out.
ExistingFile = Annotated[str, AfterValidator(_file)]
#: A bucket that may not be left out; needs ``validate_default=True``.
NeededBucket = Annotated[str, AfterValidator(_needed)]
#: A root path without slashes at its ends; no leading backslash either, for services that take no such key.
RelativeRoot = Annotated[str, AfterValidator(_relative)]
#: The secret of ``access_key_id``, which is declared before it: both or none. Needs ``validate_default=True``.
SecretOfKey = Annotated[SecretStr, AfterValidator(_secret)]


#: How Milvus reaches the service, where that is another way than mbk's; empty when left out.
MilvusHost = Annotated[str, AfterValidator(_host), Field(description="the host as Milvus reaches it")]
MilvusPort = Annotated[int | None, Field(ge=1, le=65535, description="the port as Milvus reaches it")]


def joined(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address; always with a port, so that two spellings are equal."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
