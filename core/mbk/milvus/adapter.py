"""The Milvus port over gRPC and, for what only that can, REST: for servers from 2.2 on."""

from __future__ import annotations

from mbk.milvus.importing import Importing
from mbk.milvus.snapshots import Snapshots
from mbk.milvus.writing import Writing


class MilvusAdapter(Writing, Importing, Snapshots):
    """Implements :class:`mbk.ports.milvus.server.Milvus`; made by :func:`mbk.milvus.connect`."""
