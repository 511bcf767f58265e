"""Tencent Cloud COS storages for mbk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbk.plugin import StorageBackend, hookimpl

if TYPE_CHECKING:
    from mbk.ports.storage import Storage
    from mbk_tc.settings import TcSettings


@hookimpl
def mbk_storage_backends() -> Iterator[StorageBackend]:
    yield StorageBackend(
        name="tc",
        aliases=("tencent", "cos"),
        summary="Tencent Cloud COS",
        settings=_settings,
        open=_open,
        requires=("qcloud_cos",),
        schemes=("cos",),
    )


def _settings() -> type[TcSettings]:
    from mbk_tc.settings import TcSettings

    return TcSettings


def _open(settings: TcSettings) -> Storage:
    from mbk_tc.storage import open_storage

    return open_storage(settings)
