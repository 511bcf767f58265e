"""The Milvus port over gRPC. Nothing heavy is loaded before :func:`connect` is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbk.config.schema import MilvusSettings
    from mbk.ports.milvus.server import Milvus
    from mbk.ports.replicate import Replication

__all__ = ["connect", "connect_replication"]


def connect(settings: MilvusSettings) -> Milvus:
    """A connected client, its server's version and features known. Close it after use.

    Answers within about 10 s: `MilvusUnavailable` where nobody answers or the TLS settings do not fit,
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
    """A writer of messages of cluster ``source`` into the log of ``target``, which the settings lead to.

    ``control`` is the source's control channel. Raises as :func:`connect`. Close it after use.
    """
    from mbk.milvus.channel import Channel
    from mbk.milvus.replicate import MilvusReplication

    return MilvusReplication(Channel(settings), source=source, target=target, control=control)
