"""The Milvus port over gRPC. Nothing heavy is loaded before :func:`connect` is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbk.config.schema import MilvusSettings
    from mbk.ports.milvus import Milvus

__all__ = ["connect"]


def connect(settings: MilvusSettings) -> Milvus:
    """A connected client, its server's version and features known. Close it after use.

    Answers within about 10 s: `MilvusUnavailable` where nobody answers or the TLS settings do not fit,
    `AuthenticationFailed` for a wrong user or password, `ConfigError` for a certificate that cannot be read.
    """
    from mbk.milvus.adapter import MilvusAdapter
    from mbk.milvus.channel import Channel

    channel = Channel(settings)
    try:
        return MilvusAdapter(channel, management=settings.management_endpoint)
    except BaseException:
        channel.close()
        raise
