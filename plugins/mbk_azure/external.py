"""How Milvus itself is told of a container and let in.

See docs/reference/milvus-protocol.md#storages-that-milvus-reaches.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mbk.errors import Unsupported
from mbk.plugin.external import external_spec, external_uri
from mbk.plugin.fields import joined
from mbk_azure.settings import AzureSettings


def uri(settings: AzureSettings, key: str) -> str:
    """``azure://{account}.blob.{cloud}/{container}/{key}``; ``milvus_address`` is the account's whole host name."""
    url = urlsplit(settings.connection.url)
    if settings.milvus_address:
        host, port = settings.milvus_address, settings.milvus_port
    elif url.path.strip("/"):
        raise Unsupported(
            "Milvus cannot reach account {account!r} at {endpoint}, because the account is part of the path",
            code="account-in-path",
            hint="set milvusAddress to the account's host name, or use --format binlog",
            account=settings.account_name,
            endpoint=settings.endpoint,
        )
    else:
        host, port = url.hostname or "", settings.milvus_port or url.port
    return external_uri("azure", host if port in (None, 443) else joined(host, port), settings.bucket, key)


def spec(settings: AzureSettings) -> str:
    connection = settings.connection
    if connection.sas:
        raise Unsupported(
            "snapshots need credentials that Milvus can use, and it takes no shared access signature",
            code="milvus-takes-no-sas",
            hint="use the account's key or a role (useIAM), or --format binlog",
        )
    return external_spec(
        "azure",
        tls=connection.url.startswith("https:"),
        keys=(connection.account, connection.key) if connection.key else None,
    )
