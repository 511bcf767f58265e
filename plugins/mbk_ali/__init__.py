"""Alibaba Cloud OSS storages for mbk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbk.plugin import StorageBackend, hookimpl

if TYPE_CHECKING:
    from mbk.ports.storage import Storage
    from mbk_ali.settings import AliSettings


@hookimpl
def mbk_storage_backends() -> Iterator[StorageBackend]:
    yield StorageBackend(
        name="ali",
        aliases=("aliyun", "alibaba", "alicloud", "oss"),
        summary="Alibaba Cloud OSS",
        settings=_settings,
        open=_open,
        requires=("oss2",),
        schemes=("oss",),
    )


def _settings() -> type[AliSettings]:
    from mbk_ali.settings import AliSettings

    return AliSettings


def _open(settings: AliSettings) -> Storage:
    from mbk_ali.storage import open_storage

    return open_storage(settings)
