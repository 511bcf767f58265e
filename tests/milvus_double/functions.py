"""Functions that fill columns on insert. Their outputs are deterministic, and of no use for a real search.

Remote ones ask a provider: it answers only where ``state.providers_answer`` says so, as in a test no provider is there.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import Counter
from typing import Any

import numpy as np
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.refusal import Refused
from tests.milvus_double.wire import dimension

BM25, TEXT_EMBEDDING, RERANK, MINHASH = 1, 2, 3, 4
CHECK_SWITCH = "disable_func_runtime_check"


def check_providers(schema: schema_pb2.CollectionSchema, *, answering: bool, switched_off: bool) -> None:
    """On creating a collection a proxy tries each remote function once (``internal/util/function/embedding``)."""
    for function in schema.functions:
        if function.type == TEXT_EMBEDDING and not answering and not switched_off:
            raise no_answer(function)


def no_answer(function: schema_pb2.FunctionSchema) -> Refused:
    provider = next((pair.value for pair in function.params if pair.key == "provider"), "unknown")
    return Refused(
        f"Check function [{function.name}:TextEmbedding] failed, the err is: call service failed, unable to "
        f"reach provider {provider}: connection refused",
        code=2400,
    )


def output(function: schema_pb2.FunctionSchema, field: schema_pb2.FieldSchema, text: Any) -> Any:
    if text is None:
        return None
    if function.type == BM25:
        return sparse(text)
    seed = hashlib.sha256(f"{function.name}/{text}".encode()).digest()
    width = dimension(field)
    if field.data_type == DataType.FloatVector:
        numbers = np.random.default_rng(list(seed)).random(width, dtype="<f4")
        return numbers.tobytes()
    size = {DataType.BinaryVector: width // 8, DataType.Int8Vector: width}.get(field.data_type, 2 * width)
    return hashlib.shake_256(seed).digest(size)


def sparse(text: str) -> bytes:
    """Term frequencies by a hash of the term, as (u32 index, f32 value) sorted by index."""
    terms = Counter(zlib.crc32(word.encode()) for word in text.lower().split())
    return b"".join(struct.pack("<If", index, count) for index, count in sorted(terms.items()))
