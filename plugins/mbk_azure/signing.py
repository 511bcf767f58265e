"""Letting the service of the destination read the source: a URL with a short-lived signature for one object."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mbk_azure.authorization import encoded

if TYPE_CHECKING:
    from mbk_azure.settings import AzureSettings

#: Enough for one synchronous copy; a copy that is tried again is signed again.
VALID = timedelta(hours=1)
#: A delegation key signs for so long, and then for `VALID` more.
KEY_IN_USE = timedelta(hours=1)
#: Of the rules by which a signature is made and read; every cloud and emulator has them.
SAS_VERSION = "2021-12-02"
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

    def __init__(self, settings: AzureSettings, service: Callable[[], Any]) -> None:
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
        if connection.key:
            return signed_read(
                connection.account, connection.key, self._bucket, key, self._protocol, time.time()
            )
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        return generate_blob_sas(
            connection.account,
            self._bucket,
            key,
            user_delegation_key=self._delegated(),
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + VALID,
            protocol=self._protocol,
        )

    def _delegated(self) -> Any:
        now = datetime.now(UTC)
        with self._lock:
            if now >= self._renewal:
                self._delegation_key = self._service().get_user_delegation_key(
                    now - SKEW, now + KEY_IN_USE + VALID
                )
                self._renewal = now + KEY_IN_USE
            return self._delegation_key


def signed_read(account: str, key: str, bucket: str, name: str, protocol: str, now: float) -> str:
    """The query of a signature for one object: https://learn.microsoft.com/rest/api/storageservices/create-service-sas"""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + VALID.total_seconds()))
    resource = f"/blob/{account}/{bucket}/{name}"
    # Rights, start, end, resource, policy, address, protocol, version, kind, snapshot, scope, and five headers of answers.
    text = f"r\n\n{until}\n{resource}\n\n\n{protocol}\n{SAS_VERSION}\nb\n\n\n\n\n\n\n"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256")).decode()
    return encoded(
        (
            ("se", until),
            ("sp", "r"),
            ("spr", protocol),
            ("sv", SAS_VERSION),
            ("sr", "b"),
            ("sig", signature),
        )
    )
