"""Counts rows: with ``count(*)``, or on 2.2 by primary keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mbk.milvus.descriptions import describe, load_state, loaded_partitions, partitions_of
from mbk.milvus.proto import common, milvus, schema
from mbk.milvus.server import Server, name_of
from mbk.model.records import LOADED
from mbk.ports.milvus.values import Feature

#: Without count(*) the primary keys are fetched and counted; more than this take too much memory.
MAX_COUNTED_KEYS = 1_000_000


class Rows:
    """Implements :class:`mbk.ports.milvus.roles.Rows`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def count(self, database: str, collection: str) -> int | None:
        """None unless every partition is loaded, and for more than `MAX_COUNTED_KEYS` rows on servers before 2.3."""
        if load_state(self._server, database, collection) != LOADED:
            return None
        loaded = loaded_partitions(self._server, database, collection)
        partitions = partitions_of(self._server, database, collection)
        if any(loaded.get(part.name) != LOADED for part in partitions):
            return None
        if Feature.COUNT in self._server.features:
            return int(self._query(database, collection, "", "count(*)").scalars.long_data.data[0])
        return self._count_keys(database, collection)

    def having(
        self, database: str, collection: str, key: str, values: Sequence[int | str]
    ) -> list[int | str]:
        """One query; the caller keeps ``values`` short."""
        if not values:
            return []
        text = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
        found = self._query(database, collection, f"{key} in [{text}]", key).scalars
        return [*found.long_data.data, *found.string_data.data]

    def _count_keys(self, database: str, collection: str) -> int | None:
        # The statistics ignore deletes, but they are an upper bound of what a query can return.
        request = milvus.GetCollectionStatisticsRequest(collection_name=collection)
        what = f"get the statistics of {name_of(database, collection)}"
        stats = self._server.call("GetCollectionStatistics", request, what, database=database).stats
        if any(pair.key == "row_count" and int(pair.value) > MAX_COUNTED_KEYS for pair in stats):
            return None
        fields = describe(self._server, database, collection).schema.fields
        key = next(field for field in fields if field.is_primary_key)
        if key.data_type == schema.DataType.VarChar:
            return len(
                self._query(database, collection, f'{key.name} >= ""', key.name).scalars.string_data.data
            )
        # -2**63 as a literal overflows the server's parser.
        everything = f"{key.name} >= 0 or {key.name} < 0"
        return len(self._query(database, collection, everything, key.name).scalars.long_data.data)

    def _query(self, database: str, collection: str, expression: str, output: str) -> Any:
        """One column of a strongly consistent query: level 0, and no older guarantee timestamp for old servers."""
        request = milvus.QueryRequest(
            collection_name=collection,
            expr=expression,
            output_fields=[output],
            consistency_level=common.Strong,
            guarantee_timestamp=0,
        )
        what = f"query the rows of {name_of(database, collection)}"
        response = self._server.call("Query", request, what, database=database)
        return next(
            (column for column in response.fields_data if column.field_name == output), schema.FieldData()
        )
