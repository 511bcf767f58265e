"""The SDK's client, for requests that a run makes once: one attempt a call, and nothing secret in the logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import requests
from azure.core.credentials import AzureSasCredential  # noqa: TID253  loaded only with an opened storage
from azure.core.pipeline.transport import (  # noqa: TID253  loaded only with an opened storage
    RequestsTransport,
)
from azure.storage.blob import BlobServiceClient  # noqa: TID253  loaded only with an opened storage
from requests.adapters import HTTPAdapter

from mbk_azure.authorization import identity
from mbk_azure.errors import masked

if TYPE_CHECKING:
    from mbk_azure.settings import AzureSettings

CONNECT_TIMEOUT = 10
#: Long enough for a server to copy 256 MiB or to assemble 50,000 blocks before it answers.
READ_TIMEOUT = 300
#: No attempt after the first: the engine retries.
ONCE: dict[str, Any] = {"retry_total": 0, "retry_connect": 0, "retry_read": 0, "retry_status": 0}


def connect(settings: AzureSettings) -> BlobServiceClient:
    """A thread-safe client. Sends nothing to the storage; the chain asks for a token with the first request."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_mask_signatures)
    return BlobServiceClient(
        settings.connection.url,
        credential=_credential(settings),
        transport=RequestsTransport(
            session=_session(),
            connection_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            connection_verify=settings.ca_cert or True,
        ),
        user_agent="mbk",
        **ONCE,
    )


def _credential(settings: AzureSettings) -> Any:
    connection = settings.connection
    if connection.sas:
        return AzureSasCredential(connection.sas)
    if connection.key:
        return {"account_name": connection.account, "account_key": connection.key}
    return identity(settings)


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=0))
    return session


def _mask_signatures(record: logging.LogRecord) -> bool:
    """The HTTP library logs the path of every request, with the signature that is a part of it."""
    if isinstance(record.args, tuple):
        record.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in record.args)
    return True
