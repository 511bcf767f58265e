"""Directories as storages: Milvus' ``local`` storage type, and backups on a disk or a mounted share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mbk.plugin import StorageBackend, hookimpl

if TYPE_CHECKING:
    from mbk.plugin import StorageSettings
    from mbk.ports.storage import Storage


def _settings() -> type[StorageSettings]:
    from mbk_local.settings import LocalSettings

    return LocalSettings


def _open(settings: Any) -> Storage:
    from mbk_local.storage import LocalStorage

    return LocalStorage(settings.root_path, mount=settings.local_path)


@hookimpl
def mbk_storage_backends() -> Iterable[StorageBackend]:
    yield StorageBackend(
        name="local",
        summary="a directory of this machine or of a mounted share",
        settings=_settings,
        open=_open,
        schemes=("file",),
        url=(),
    )
