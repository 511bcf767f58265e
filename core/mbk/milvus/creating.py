"""Creates collections whose fields have the same ids as in the source, on servers of every version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mbk.errors import MilvusError
from mbk.milvus.descriptions import describe
from mbk.milvus.numbering import Later, Plan, creation_plan
from mbk.milvus.proto import milvus
from mbk.milvus.schema import (
    SERVER_MANAGED,
    is_server_made,
    merged,
    part_name,
    write_field,
    write_pairs,
    write_schema,
    write_struct,
)
from mbk.milvus.server import Server, name_of
from mbk.model.records import (
    DEFAULT_DATABASE,
    CollectionSchema,
    FieldSchema,
    KeyValue,
    StructArrayFieldSchema,
)
from mbk.ports.milvus.values import Feature

#: With it a server accepts functions without calling their remote services; from 2.6.8 on.
FUNCTION_CHECK_OFF = "disable_func_runtime_check"
DYNAMIC_FIELD = "dynamicfield.enabled"


class Creating:
    """Remembers unfinished collections, so that a call that failed can be repeated."""

    def __init__(self, server: Server) -> None:
        self._server = server
        #: Collections that were created but still lack fields, or the check of their field ids.
        self._unfinished: set[tuple[str, str]] = set()

    def forget(self, database: str, collection: str) -> None:
        """The collection is dropped, so its name may be reused."""
        self._unfinished.discard((database, collection))

    def create(
        self,
        database: str,
        schema: CollectionSchema,
        *,
        shards: int,
        consistency_level: int,
        partitions: int = 0,
        properties: Sequence[KeyValue] = (),
    ) -> None:
        """Like `mbk.ports.milvus.roles.Definitions.create_collection`, for a schema without problems."""
        union = [pair for pair in merged(schema.properties, properties) if pair.key not in SERVER_MANAGED]
        plan = creation_plan(schema)
        with self._functions_unchecked(database, schema, union) as sent:
            if (database, schema.name) not in self._unfinished:
                self._create(database, schema, plan, sent, (shards, consistency_level, partitions))
                self._unfinished.add((database, schema.name))
            self._add_later(database, schema.name, plan)
        self._verify_field_ids(database, schema)
        self._unfinished.discard((database, schema.name))

    def _create(
        self,
        database: str,
        schema: CollectionSchema,
        plan: Plan,
        properties: Sequence[KeyValue],
        numbers: tuple[int, int, int],
    ) -> None:
        shards, consistency_level, partitions = numbers
        message = write_schema(schema, properties, fields=plan.fields, structs=plan.structs)
        message.enable_dynamic_field = plan.dynamic
        request = milvus.CreateCollectionRequest(
            collection_name=schema.name,
            schema=message.SerializeToString(),
            shards_num=shards,
            consistency_level=consistency_level,
            num_partitions=partitions,
            properties=write_pairs(properties),
        )
        self._server.call(
            "CreateCollection", request, f"create {name_of(database, schema.name)}", database=database
        )

    @contextmanager
    def _functions_unchecked(
        self, database: str, schema: CollectionSchema, properties: Sequence[KeyValue]
    ) -> Iterator[Sequence[KeyValue]]:
        """The properties to create with. Afterwards, even on failure, the source's setting of the check is restored."""
        source = next((pair.value for pair in properties if pair.key == FUNCTION_CHECK_OFF), None)
        needed = schema.functions and Feature.FUNCTION_CHECK_SWITCH in self._server.features
        if not needed or (source or "").lower() == "true":
            yield properties
            return
        try:
            yield merged(properties, [KeyValue(key=FUNCTION_CHECK_OFF, value="true")])
        finally:
            if (database, schema.name) in self._unfinished:
                self._check_functions_again(database, schema.name, source)

    def _check_functions_again(self, database: str, collection: str, source: str | None) -> None:
        """As in the source: a property that it does not have is removed, not left behind as false."""
        if source is None:
            alter_collection(self._server, database, collection, delete_keys=[FUNCTION_CHECK_OFF])
        else:
            pairs = [KeyValue(key=FUNCTION_CHECK_OFF, value=source)]
            alter_collection(self._server, database, collection, properties=pairs)

    def _add_later(self, database: str, collection: str, plan: Plan) -> None:
        if not plan.later:
            return
        current = describe(self._server, database, collection).schema
        existing = {item.name for item in (*current.fields, *current.struct_array_fields)}
        for step in plan.later:
            if step.item is None:
                if not current.enable_dynamic_field:
                    pairs = [KeyValue(key=DYNAMIC_FIELD, value="true")]
                    alter_collection(self._server, database, collection, properties=pairs)
            elif step.item.name not in existing:
                self._add(database, collection, step)

    def _add(self, database: str, collection: str, step: Later) -> None:
        item = step.item
        what = f"add field {item.name if item else ''} to {name_of(database, collection)}"
        if isinstance(item, StructArrayFieldSchema):
            request: Any = milvus.AddCollectionStructFieldRequest(
                collection_name=collection, struct_array_field_schema=write_struct(item)
            )
            self._server.call("AddCollectionStructField", request, what, database=database)
        elif isinstance(item, FieldSchema):
            request = milvus.AddCollectionFieldRequest(
                collection_name=collection, schema=write_field(item).SerializeToString()
            )
            self._server.call("AddCollectionField", request, what, database=database)

    def _verify_field_ids(self, database: str, schema: CollectionSchema) -> None:
        made = _ids(describe(self._server, database, schema.name).schema)
        wrong = [
            f"{name} is {made.get(name)} instead of {number}"
            for name, number in _expected(schema)
            if number and made.get(name) != number
        ]
        if wrong:
            raise MilvusError(
                "collection {collection} was created with other field ids than the source: {fields}",
                code="field-ids-differ",
                collection=f"{database or DEFAULT_DATABASE}.{schema.name}",
                fields=", ".join(wrong),
                hint="drop the collection: its data cannot be imported",
            )


def alter_collection(
    server: Server,
    database: str,
    collection: str,
    *,
    properties: Sequence[KeyValue] = (),
    delete_keys: Sequence[str] = (),
) -> None:
    """Servers take either properties or keys to delete in one call, so both take two calls."""
    what = f"alter {name_of(database, collection)}"
    if properties:
        request = milvus.AlterCollectionRequest(
            collection_name=collection, properties=write_pairs(properties)
        )
        server.call("AlterCollection", request, what, database=database)
    if delete_keys:
        request = milvus.AlterCollectionRequest(collection_name=collection, delete_keys=delete_keys)
        server.call("AlterCollection", request, what, database=database)


def _expected(schema: CollectionSchema) -> Iterator[tuple[str, int]]:
    """Field name -> the id in its binlogs; parts of structs as ``struct.part``. Without the fields that servers add."""
    yield from ((field.name, field.field_id) for field in schema.fields if not is_server_made(field))
    for struct in schema.struct_array_fields:
        yield struct.name, struct.field_id
        yield from (
            (f"{struct.name}.{part_name(struct.name, part.name)}", part.field_id) for part in struct.fields
        )
    for function in schema.functions:
        outputs = zip(function.output_field_names, function.output_field_ids, strict=False)
        yield from ((_output(function.name, name), number) for name, number in outputs)


def _ids(message: Any) -> dict[str, int]:
    ids = {field.name: field.fieldID for field in message.fields}
    for struct in message.struct_array_fields:
        ids[struct.name] = struct.fieldID
        ids |= {f"{struct.name}.{part_name(struct.name, part.name)}": part.fieldID for part in struct.fields}
    for function in message.functions:
        outputs = zip(function.output_field_names, function.output_field_ids, strict=False)
        ids |= {_output(function.name, name): number for name, number in outputs}
    return ids


def _output(function: str, field: str) -> str:
    return f"output {field} of function {function}"
