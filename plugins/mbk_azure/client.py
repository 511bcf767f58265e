"""Making the SDK's client: endpoint, credentials, one attempt a call, and nothing secret in the logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import requests
from azure.core.credentials import AzureSasCredential  # noqa: TID253  loaded only with an opened storage
from azure.core.exceptions import AzureError  # noqa: TID253  loaded only with an opened storage
from azure.core.pipeline.transport import (  # noqa: TID253  loaded only with an opened storage
    RequestsTransport,
)
from azure.storage.blob import BlobServiceClient  # noqa: TID253  loaded only with an opened storage
from requests.adapters import HTTPAdapter

from mbk.errors import UsageError
from mbk.ports.storage import MIB
from mbk_azure.errors import BrokenBody, masked

if TYPE_CHECKING:
    from mbk_azure.settings import AzureSettings

CONNECT_TIMEOUT = 10
#: Long enough for a server to copy 256 MiB or to assemble 50,000 blocks before it answers.
READ_TIMEOUT = 300
#: As many as the engine's widest pool, with room for requests beside it.
CONNECTIONS = 256
#: A read is made of ranged requests of so many bytes; the SDK holds one of them.
READ_CHUNK = 8 * MIB
#: What a single request may write. Above the largest that `ObjectStorage` writes so.
SINGLE_WRITE = 64 * MIB
#: No attempt after the first: the engine retries.
ONCE: dict[str, Any] = {"retry_total": 0, "retry_connect": 0, "retry_read": 0, "retry_status": 0}


def connect(settings: AzureSettings) -> BlobServiceClient:
    """A thread-safe client. Sends nothing to the storage; the chain asks for a token with the first request."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_mask_signatures)
    return BlobServiceClient(
        settings.connection.url,
        credential=_credential(settings),
        transport=_Transport(
            session=_session(),
            connection_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            connection_verify=settings.ca_cert or True,
            connection_data_block_size=256 * 1024,
        ),
        max_single_get_size=READ_CHUNK,
        max_chunk_get_size=READ_CHUNK,
        max_single_put_size=SINGLE_WRITE,
        user_agent="mbk",
        **ONCE,
    )


def _credential(settings: AzureSettings) -> Any:
    connection = settings.connection
    if connection.sas:
        return AzureSasCredential(connection.sas)
    if connection.key:
        return {"account_name": connection.account, "account_key": connection.key}
    if not connection.url.startswith("https:"):
        raise UsageError(
            "account {account!r} has neither a key nor a SAS token, and tokens are sent over https only",
            code="token-needs-tls",
            hint="set accountKey, a SAS token or a connection string, or useSSL",
            account=connection.account,
        )
    from azure.identity import DefaultAzureCredential

    if settings.iam_endpoint:
        # The public cloud knows nothing of a private authority, so it is not asked about it.
        return DefaultAzureCredential(authority=settings.iam_endpoint, disable_instance_discovery=True)
    return DefaultAzureCredential()


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(CONNECTIONS, CONNECTIONS, max_retries=0, pool_block=False))
    return session


class _Transport(RequestsTransport):  # type: ignore[misc]  # the SDK loads it untyped
    """Gives a body once. The SDK would ask up to three times for one that broke off, sleeping in between."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        answer = super().send(request, **kwargs)
        if kwargs.get("stream"):
            whole = answer.stream_download
            answer.stream_download = lambda *args, **more: _Body(whole(*args, **more))
        return answer


class _Body:
    """The SDK's stream of an answer's body; the SDK hangs attributes on it and reads others."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk: bytes = next(self._body)
        except (AzureError, OSError) as exc:
            raise BrokenBody from exc
        return chunk


def _mask_signatures(record: logging.LogRecord) -> bool:
    """The HTTP library logs the path of every request, with the signature that is a part of it."""
    if isinstance(record.args, tuple):
        record.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in record.args)
    return True
