"""What pymilvus keeps of servers for as long as the process runs."""

from __future__ import annotations

from pymilvus.client.cache import GlobalCache


def forget_servers() -> None:
    """For a server that is about to start: its port may have been that of another one, whose schemas are kept by address."""
    GlobalCache.schema.clear()
    GlobalCache.collection_ts.clear()
