"""The meta store port: what only Milvus' own meta store knows of a collection.

Nothing here is needed for an ordinary backup; ``--backup-index-extra`` asks for it. Every call blocks, is one attempt,
and fails with one of :mod:`mbk.errors` (`MilvusUnavailable`, `AccessError`, `Unsupported`, `MilvusError`).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mbk.model.records import FieldSchema, IndexInfo


@runtime_checkable
class MetaStore(Protocol):
    def index_extras(self, collection_id: int) -> list[IndexInfo]:
        """The indexes of a collection that are not dropped, by index id.

        Each holds ``index_id``, ``field_id``, ``index_name`` and what no call of Milvus tells: ``create_time`` (a hybrid
        timestamp), the three lists of parameters, ``is_auto_index`` and the index versions. ``field_name``,
        ``index_type`` and ``params`` stay empty: those are described.
        """

    def dynamic_field(self, collection_id: int) -> FieldSchema | None:
        """The field that holds dynamic keys, which Milvus never describes; None where there is none."""

    def close(self) -> None: ...
