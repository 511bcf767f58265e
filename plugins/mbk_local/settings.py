"""Settings of the ``local`` storage."""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import Field, field_validator

from mbk.plugin import StorageSettings


class LocalSettings(StorageSettings):
    """The directory, and the same directory as Milvus sees it.

    What a classic file says of an object storage is ignored, so that ``--storage local`` works on it.
    """

    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "address",
            "port",
            "region",
            "use_ssl",
            "ca_cert",
            "path_style",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "use_iam",
            "iam_endpoint",
            "profile",
            "account_name",
            "account_key",
            "connection_string",
            "sas_token",
            "credentials_file",
            "milvus_address",
            "milvus_port",
        }
    )

    root_path: str = Field(
        description="the directory; a relative one starts at the working directory, and `~` is the home directory"
    )
    local_path: str = Field(
        "",
        description="the same directory as the Milvus process sees it, where that differs (a container's mount)",
    )

    @field_validator("root_path")
    @classmethod
    def _names_a_directory(cls, value: str) -> str:
        if not value.strip() or "\0" in value:
            raise ValueError("must name a directory")
        # No shell has read what stands in a file.
        return os.path.expanduser(value)  # noqa: PTH111 - Path would drop a slash at the end
