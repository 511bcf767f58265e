"""The port of a managed Milvus: what `migrate` asks of the service that takes a backup in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Protocol

from mbk.frozen import frozen


@frozen
class Volume:
    """A place for uploads with temporary credentials.

    ``storage_type`` is the service's word for the vendor, which is a ``storageType`` of ours. ``values`` are named as
    :class:`mbk.plugin.StorageSettings` says, secrets are `SecretStr`. ``prefix`` is where the backup's objects go:
    empty or ending with ``/``. ``expires`` is when the credentials end, None where the service does not say.
    ``max_objects`` and ``max_size`` (bytes, of all objects together) are 0 where there is no limit.
    """

    name: str
    storage_type: str
    prefix: str
    values: Mapping[str, Any] = field(repr=False)
    expires: datetime | None = None
    max_objects: int = 0
    max_size: int = 0


class Cloud(Protocol):
    """One call is one attempt; errors are those of :mod:`mbk.errors`."""

    def apply_volume(self, cluster: str, path: str) -> Volume:
        """Credentials to upload below ``path`` of the cluster's own volume; asked again when they run out.

        `AuthenticationFailed` for a wrong API key, `MilvusError` for what the service refuses.
        """

    def start_migration(self, volume: str, path: str, cluster: str) -> str:
        """Starts taking in the backup that lies below ``path`` of the volume; returns the migration job's id."""
