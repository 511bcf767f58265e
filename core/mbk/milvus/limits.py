"""Which parts of a schema or an index a given server version does not support: data, and the texts made of it.

Settings that an older server merely ignores (mmap and isolation, analyzers, warm-up) are no reason to refuse: the rows are
the same, and 2.3.5 keeps such settings unread. It also keeps default values, but silently loses null values and clustering
keys. Unknown values are refused only for servers older than every version listed here. Sources: milvus.io/docs
("Compatible with Milvus …" on each page), milvus-proto's releases; 2.2 and 2.3 as observed
(docs/reference/milvus-protocol.md, "Milvus 2.2 and 2.3").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mbk.milvus.features import Version
from mbk.milvus.numbering import Plan, creation_plan
from mbk.milvus.schema import sent_fields
from mbk.model.records import CollectionSchema, FieldSchema, FunctionSchema, IndexInfo, StructArrayFieldSchema
from mbk.ports.milvus.values import Feature

#: Number, name and first version of each type. Needed because 2.3.5 silently accepts unknown types and fails once rows
#: arrive; not the protocol's own enumeration, because an older client lacks the newer types.
TYPES: dict[int, tuple[str, Version]] = {
    1: ("Bool", (2, 2, 0)),
    2: ("Int8", (2, 2, 0)),
    3: ("Int16", (2, 2, 0)),
    4: ("Int32", (2, 2, 0)),
    5: ("Int64", (2, 2, 0)),
    10: ("Float", (2, 2, 0)),
    11: ("Double", (2, 2, 0)),
    21: ("VarChar", (2, 2, 0)),
    22: ("Array", (2, 3, 2)),
    23: ("JSON", (2, 2, 9)),
    24: ("Geometry", (2, 6, 4)),
    25: ("Text", (3, 0, 0)),
    26: ("Timestamptz", (2, 6, 4)),
    100: ("BinaryVector", (2, 2, 0)),
    101: ("FloatVector", (2, 2, 0)),
    102: ("Float16Vector", (2, 4, 0)),
    103: ("BFloat16Vector", (2, 4, 0)),
    104: ("SparseFloatVector", (2, 4, 0)),
    105: ("Int8Vector", (2, 6, 0)),
    106: ("ArrayOfVector", (2, 6, 4)),
}
#: Types that came to the last patches of an older line, too: from which version, and where that line ends (seen on 2.5.27;
#: the first patch is not known).
_TYPES_ALSO: dict[int, tuple[Version, Version]] = {24: ((2, 5, 27), (2, 6, 0))}
#: Number, name and first version of each kind of function.
FUNCTIONS: dict[int, tuple[str, Version]] = {
    1: ("BM25", (2, 5, 0)),
    2: ("TextEmbedding", (2, 6, 0)),
    3: ("Rerank", (2, 6, 0)),
    4: ("MinHash", (2, 6, 0)),
    5: ("MolFingerprint", (3, 0, 0)),
}
#: First versions of the index types and metrics that 2.2 does not support.
INDEX_TYPES: dict[str, Version] = {
    "SCANN": (2, 3, 0),
    "GPU_IVF_FLAT": (2, 3, 0),
    "GPU_IVF_PQ": (2, 3, 0),
    "GPU_CAGRA": (2, 4, 0),
    "GPU_BRUTE_FORCE": (2, 4, 0),
    "SPARSE_INVERTED_INDEX": (2, 4, 0),
    "SPARSE_WAND": (2, 4, 0),
    "INVERTED": (2, 4, 0),
    "BITMAP": (2, 5, 0),
    "HYBRID": (2, 5, 0),
    "HNSW_SQ": (2, 5, 0),
    "HNSW_PQ": (2, 5, 0),
    "HNSW_PRQ": (2, 5, 0),
    "IVF_RABITQ": (2, 6, 0),
    "MINHASH_LSH": (2, 6, 0),
    "NGRAM": (2, 6, 0),
    "RTREE": (2, 6, 4),
    "AISAQ": (2, 6, 4),
}
METRICS: dict[str, Version] = {
    "COSINE": (2, 3, 0),
    "BM25": (2, 5, 0),
    "MHJACCARD": (2, 6, 0),
    "MAX_SIM": (2, 6, 4),
}
JSON_PATH_INDEX: Version = (2, 5, 4)

#: The version assumed for values that are not in the tables: only newer servers decide about them themselves.
_FUTURE: Version = (3, 0, 0)
_VECTORS = range(100, 106)
#: ``AddCollectionStructField`` of milvus-proto.
_ADDED_STRUCTS: Version = (3, 0, 0)
#: Null vectors are new in 3.0 and were backported to 2.6 by milvus PR 49520, after 2.6.15.
_NULL_VECTORS: Version = (2, 6, 16)


def schema_problems(record: CollectionSchema, version: Version, features: frozenset[Feature]) -> list[str]:
    """What the server does not support, each as ``field: reason``."""
    fields = sent_fields(record)
    problems = [f"{field.name}: {reason}" for field in fields for reason in _field_problems(field, version)]
    vectors = [field.name for field in fields if field.data_type in _VECTORS]
    if len(vectors) > 1 and version < (2, 4, 0):
        problems.append(f"{', '.join(vectors)}: several vector fields")
    if record.enable_dynamic_field and version < (2, 2, 9):
        problems.append("dynamic fields")
    if record.enable_namespace and version < (3, 0, 0):
        problems.append("a namespace")
    problems += [reason for function in record.functions for reason in _function_problems(function, version)]
    problems += [
        reason for struct in record.struct_array_fields for reason in _struct_problems(struct, version)
    ]
    return problems + list(_number_problems(creation_plan(record), version, features))


def _field_problems(field: FieldSchema, version: Version) -> list[str]:
    problems = []
    type_name, since = TYPES.get(field.data_type, (str(field.data_type), _FUTURE))
    element, element_since = TYPES.get(field.element_type, (str(field.element_type), _FUTURE))
    low, high = _TYPES_ALSO.get(field.data_type, (since, since))
    if version < since and not low <= version < high:
        problems.append(f"the type {type_name}")
    elif field.element_type and version < element_since:
        problems.append(f"elements of the type {element}")
    if field.nullable and version < (_NULL_VECTORS if field.data_type in _VECTORS else (2, 5, 0)):
        problems.append("null values")
    if field.element_nullable and version < (3, 0, 0):
        problems.append("null elements")
    if (field.default_value_base64 or field.default_value_proto) and version < (2, 3, 0):
        problems.append("a default value")
    if field.is_partition_key and version < (2, 2, 9):
        problems.append("a partition key")
    if field.is_clustering_key and version < (2, 4, 7):
        problems.append("a clustering key")
    return problems


def _function_problems(function: FunctionSchema, version: Version) -> list[str]:
    if version < (2, 5, 0):
        return [f"{function.name}: functions"]
    kind, since = FUNCTIONS.get(function.type, (str(function.type), _FUTURE))
    return [f"{function.name}: functions of the kind {kind}"] if version < since else []


def _struct_problems(struct: StructArrayFieldSchema, version: Version) -> list[str]:
    if version < (2, 6, 4):
        return [f"{struct.name}: arrays of structs"]
    problems = [
        f"{struct.name}.{part.name}: {reason}"
        for part in struct.fields
        for reason in _field_problems(part, version)
    ]
    if struct.nullable and version < (3, 0, 0):
        problems.append(f"{struct.name}: null values")
    return problems


def _number_problems(plan: Plan, version: Version, features: frozenset[Feature]) -> Iterator[str]:
    """Field ids that this server cannot assign."""
    yield from plan.problems
    for step in plan.later:
        item = step.item
        if Feature.ADD_FIELD not in features or (
            isinstance(item, StructArrayFieldSchema) and version < _ADDED_STRUCTS
        ):
            what = f"{item.name}: the field id {item.field_id}" if item else "dynamic fields"
            yield f"{what}, which the source added later"
        elif isinstance(item, FieldSchema) and item.is_function_output:
            yield f"{item.name}: the output of a function that was added later"


def index_problems(index: IndexInfo, version: Version) -> list[str]:
    """What a server of ``version`` does not support of the index."""
    params = index.params
    problems = []
    kind = (index.index_type or params.get("index_type", "")).upper()
    if version < INDEX_TYPES.get(kind, version):
        problems.append(f"indexes of the type {kind}")
    metric = params.get("metric_type", "").upper()
    if version < _metric_since(metric, version):
        problems.append(f"the metric {metric}")
    if "json_path" in params and version < JSON_PATH_INDEX:
        problems.append("indexes on paths in JSON")
    return problems


def _metric_since(metric: str, version: Version) -> Version:
    family: Mapping[str, Version] = {name: METRICS[name] for name in METRICS if metric.startswith(name)}
    return max(family.values(), default=version)
