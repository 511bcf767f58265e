"""How to make a server assign the same ids to the fields of a collection as in the source.

Binlogs are matched by field id, and servers number by position: the fields of the request from 100 on, then ``$meta`` and
``$namespace_id``, which they add themselves, then each array of structs followed by its parts. Fields added later get the
highest id ever assigned plus one. milvus: internal/rootcoord/create_collection_task.go (``assignFieldAndFunctionID``),
ddl_callbacks_alter_collection_add_field.go.
"""

from __future__ import annotations

from mbk.frozen import frozen
from mbk.milvus.schema import MAX_FIELD_ID, NAMESPACE, is_server_made, sent_fields
from mbk.model.records import CollectionSchema, FieldSchema, StructArrayFieldSchema, as_dict

FIRST_FIELD_ID = 100
META = "$meta"

Item = FieldSchema | StructArrayFieldSchema


@frozen
class Later:
    """One change after creation: a field or an array of structs to add; None: enable dynamic fields."""

    item: Item | None


@frozen
class Plan:
    """``fields`` and ``structs`` are created with the collection, ``later`` is added in that order.

    ``dynamic``: the collection is created with ``$meta``. ``problems``: ids that no sequence of changes produces.
    """

    fields: tuple[FieldSchema, ...]
    structs: tuple[StructArrayFieldSchema, ...]
    later: tuple[Later, ...] = ()
    dynamic: bool = False
    problems: tuple[str, ...] = ()


def creation_plan(record: CollectionSchema) -> Plan:
    fields = sent_fields(record)
    items: list[Item] = [*fields, *record.struct_array_fields]
    if any(not item.field_id for item in items):
        # Without recorded ids there is nothing to match.
        return Plan(tuple(fields), tuple(record.struct_array_fields), dynamic=record.enable_dynamic_field)
    return _Planner(record, sorted(fields, key=_id)).plan()


class _Planner:
    """Simulates the server: ``next`` is the id that it assigns next."""

    def __init__(self, record: CollectionSchema, fields: list[FieldSchema]) -> None:
        self._record = record
        self._made = {
            META if field.is_dynamic else field.name: field.field_id
            for field in record.fields
            if is_server_made(field)
        }
        self._fields = [field for at, field in enumerate(fields, FIRST_FIELD_ID) if field.field_id == at]
        self._rest: list[Item] = [*fields[len(self._fields) :]]
        self.next = FIRST_FIELD_ID + len(self._fields)

    def plan(self) -> Plan:
        record = self._record
        dynamic = record.enable_dynamic_field and self._free(META)
        self.next += dynamic
        if has_namespace(record) and self._free("$namespace_id"):
            self.next += 1
        structs = self._structs()
        waiting = record.enable_dynamic_field and not dynamic
        later: list[Later] = []
        problems: list[str] = []
        for item in sorted(self._rest, key=_id):
            if waiting and item.field_id == self.next + 1 and self._free(META):
                later.append(Later(None))
                waiting, self.next = False, self.next + 1
            if item.field_id != self.next or not _follows(item):
                problems.append(_gap(item, self.next))
                break
            later.append(Later(item))
            self.next += _width(item)
        if waiting and not problems:
            later.append(Later(None))
            problems += [] if self._free(META) else [f"{META}: the field id {self._made[META]}"]
            self.next += 1
        problems += [] if problems else self._unseen()
        return Plan(tuple(self._fields), structs, tuple(later), dynamic, tuple(problems))

    def _free(self, made: str) -> bool:
        """Whether the field that servers add may get the next id: it is recorded with it, or no other field has it."""
        if recorded := self._made.get(made, 0):
            return recorded == self.next
        return all(item.field_id != self.next for item in (*self._rest, *self._record.struct_array_fields))

    def _structs(self) -> tuple[StructArrayFieldSchema, ...]:
        created: list[StructArrayFieldSchema] = []
        for struct in sorted(self._record.struct_array_fields, key=_id):
            if struct.field_id == self.next and _follows(struct):
                created.append(struct)
                self.next += _width(struct)
            else:
                self._rest.append(struct)
        return tuple(created)

    def _unseen(self) -> list[str]:
        """Fields dropped after the last one, or before ``$meta``, which is never described, leave no visible gap."""
        highest = as_dict(self._record.properties).get(MAX_FIELD_ID, "")
        if META in self._made or not self._record.enable_dynamic_field:
            return []
        if not highest.isdecimal() or int(highest) == self.next - 1:
            return []
        return [
            f"{META}: its field id (the source has assigned ids up to {highest}, a new collection up to {self.next - 1};"
            " the source dropped fields; a backup with --backup_index_extra records the id)"
        ]


def has_namespace(record: CollectionSchema) -> bool:
    """A property in 2.6, part of the schema from 3.0 on."""
    return record.enable_namespace or as_dict(record.properties).get(NAMESPACE, "").lower() == "true"


def _id(item: Item) -> int:
    return item.field_id


def _width(item: Item) -> int:
    return 1 + len(item.fields) if isinstance(item, StructArrayFieldSchema) else 1


def _follows(item: Item) -> bool:
    """Whether the parts of an array of structs are numbered directly after it."""
    if not isinstance(item, StructArrayFieldSchema):
        return True
    return [part.field_id for part in item.fields] == list(
        range(item.field_id + 1, item.field_id + _width(item))
    )


def _gap(item: Item, number: int) -> str:
    return f"{item.name}: the field id {item.field_id} (it would become {number}; the source dropped fields before it)"
