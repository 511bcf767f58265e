"""The Milvus port over gRPC, for servers from 2.2 on."""

from __future__ import annotations

from mbk.milvus.writing import Writing


class MilvusAdapter(Writing):
    """Implements :class:`mbk.ports.milvus.Milvus`; made by :func:`mbk.milvus.connect`."""
