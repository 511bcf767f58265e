"""Letting the service of the destination read the source: a URL with a short-lived signature for one object."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from azure.storage.blob import (  # noqa: TID253  loaded only with an opened storage
    BlobSasPermissions,
    BlobServiceClient,
    generate_blob_sas,
)

if TYPE_CHECKING:
    from mbk_azure.settings import AzureSettings

#: Enough for one synchronous copy; a copy that is tried again is signed again.
VALID = timedelta(hours=1)
#: A delegation key signs for so long, and then for `VALID` more.
KEY_IN_USE = timedelta(hours=1)
#: The clocks of two machines may differ.
SKEW = timedelta(minutes=15)


@runtime_checkable
class SignsReads(Protocol):
    """An ability of a storage that another account can copy from."""

    def signed_url(self, key: str) -> str:
        """A URL that reads this one object for an hour. It is a secret: it goes into one header and nowhere else."""


class Signer:
    """Signs with what the storage was opened with: the account's key, a delegation key of the identity, or the SAS itself.

    A user delegation key is asked for once an hour (right ``generateUserDelegationKey``, part of the data roles).
    """

    def __init__(self, settings: AzureSettings, service: BlobServiceClient) -> None:
        self._connection = settings.connection
        self._bucket = settings.bucket
        self._service = service
        self._protocol = "https" if self._connection.url.startswith("https:") else "https,http"
        self._lock = Lock()
        self._delegation_key: Any = None
        self._renewal = datetime.min.replace(tzinfo=UTC)

    def sign(self, key: str) -> str:
        """The query that makes the object readable."""
        connection = self._connection
        if connection.sas:
            return connection.sas
        by = {"account_key": connection.key} if connection.key else {"user_delegation_key": self._delegated()}
        return generate_blob_sas(
            connection.account,
            self._bucket,
            key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + VALID,
            protocol=self._protocol,
            **by,
        )

    def _delegated(self) -> Any:
        now = datetime.now(UTC)
        with self._lock:
            if now >= self._renewal:
                self._delegation_key = self._service.get_user_delegation_key(
                    now - SKEW, now + KEY_IN_USE + VALID
                )
                self._renewal = now + KEY_IN_USE
            return self._delegation_key
