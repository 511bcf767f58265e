"""Distances of a query to all vectors, by brute force: enough to see that restored vectors are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.functions import sparse
from tests.milvus_double.refusal import invalid

#: Metrics where more is nearer.
_SIMILARITIES = frozenset({"IP", "COSINE", "BM25"})


def nearest(
    field: schema_pb2.FieldSchema, vectors: Sequence[bytes], query: bytes, metric: str, *, text: bool = False
) -> list[tuple[int, float]]:
    """(position, score) of each vector, the nearest first."""
    if text:
        query = sparse(query.decode())
    metric = metric.upper()
    if field.data_type == DataType.SparseFloatVector:
        scores = [_sparse_product(query, vector) for vector in vectors]
    elif field.data_type == DataType.BinaryVector:
        scores = [_bits(query, vector, metric) for vector in vectors]
    else:
        wanted = _numbers(field.data_type, query)
        scores = [_dense(wanted, _numbers(field.data_type, vector), metric) for vector in vectors]
    order = sorted(range(len(scores)), key=lambda at: scores[at], reverse=metric in _SIMILARITIES)
    return [(at, scores[at]) for at in order]


def _numbers(kind: int, data: bytes) -> Any:
    if kind == DataType.FloatVector:
        return np.frombuffer(data, "<f4").astype("f8")
    if kind == DataType.Float16Vector:
        return np.frombuffer(data, "<f2").astype("f8")
    if kind == DataType.Int8Vector:
        return np.frombuffer(data, "i1").astype("f8")
    halves = np.frombuffer(data, "<u2").astype("<u4") << 16
    return halves.view("<f4").astype("f8")


def _dense(left: Any, right: Any, metric: str) -> float:
    if len(left) != len(right):
        raise invalid(f"vector dimension mismatch, expected vector size(byte) {4 * len(right)}")
    if metric == "L2":
        return float(((left - right) ** 2).sum())
    product = float(left @ right)
    if metric == "COSINE":
        return product / (float(np.linalg.norm(left) * np.linalg.norm(right)) or 1.0)
    return product


def _bits(left: bytes, right: bytes, metric: str) -> float:
    first, second = int.from_bytes(left, "big"), int.from_bytes(right, "big")
    different = (first ^ second).bit_count()
    if metric == "JACCARD":
        return different / ((first | second).bit_count() or 1)
    return float(different)


def _sparse_product(left: bytes, right: bytes) -> float:
    first, second = _pairs(left), _pairs(right)
    return float(sum(value * second[index] for index, value in first.items() if index in second))


def _pairs(data: bytes) -> dict[int, float]:
    indices = np.frombuffer(data, "<u4")[::2]
    values = np.frombuffer(data, "<f4")[1::2]
    return dict(zip(indices.tolist(), values.tolist(), strict=True))
