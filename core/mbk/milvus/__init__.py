"""The Milvus port over gRPC. Heavy imports happen only in :func:`connect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbk.config.schema import MilvusSettings
    from mbk.ports.milvus.server import Milvus
    from mbk.ports.replicate import Replication

__all__ = ["connect", "connect_replication"]


def connect(settings: MilvusSettings) -> Milvus:
    """A connected client that knows its server's version and features. Close it after use.

    Returns within about 10 s: `MilvusUnavailable` if the server does not respond or the TLS settings do not match,
    `AuthenticationFailed` for a wrong user or password, `ConfigError` for a certificate that cannot be read.
    """
    from mbk.milvus.adapter import MilvusAdapter
    from mbk.milvus.channel import Channel
    from mbk.milvus.server import Server

    channel = Channel(settings)
    try:
        return MilvusAdapter(Server(channel, settings))
    except BaseException:
        channel.close()
        raise


def connect_replication(settings: MilvusSettings, *, source: str, target: str, control: str) -> Replication:
    """Writes messages of cluster ``source`` to the log of ``target``, the cluster that the settings point to.

    ``control`` is the source's control channel. Raises like :func:`connect`. Close it after use.
    """
    from mbk.milvus.channel import Channel
    from mbk.milvus.replicate import MilvusReplication

    return MilvusReplication(Channel(settings), source=source, target=target, control=control)
