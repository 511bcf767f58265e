"""Blobs in memory, and one row set with every type, written by the double's codec, which shares no code with mbk."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pymilvus.grpc_gen.schema_pb2 import DataType, FieldSchema

from mbk.binlog.blob import Blob
from tests.milvus_double.codec import ROW_ID, TIMESTAMP, LogIds

IDS = LogIds(460001, 460002, 460101)
ROWS = 3
T0 = 463267588014080003


def blob(data: bytes, key: str = "files/delta_log/1/2/3/4") -> Blob:
    return Blob(key, len(data), lambda offset, length: data[offset : offset + length])


def field(number: int, kind: int, *, dim: int = 0, **more: Any) -> FieldSchema:
    made = FieldSchema(fieldID=number, name=f"f{number}", data_type=kind, **more)
    if dim:
        made.type_params.add(key="dim", value=str(dim))
    return made


FIELDS = [
    field(100, DataType.Int64, is_primary_key=True),
    field(101, DataType.Bool),
    field(102, DataType.Int8),
    field(103, DataType.Int16),
    field(104, DataType.Int32),
    field(105, DataType.Float),
    field(106, DataType.Double),
    field(107, DataType.VarChar),
    field(108, DataType.JSON),
    field(109, DataType.Array, element_type=DataType.VarChar),
    field(110, DataType.FloatVector, dim=4),
    field(111, DataType.BinaryVector, dim=16),
    field(112, DataType.Float16Vector, dim=4),
    field(113, DataType.BFloat16Vector, dim=4),
    field(114, DataType.SparseFloatVector),
    field(115, DataType.Int64, nullable=True),
]
COLUMNS: dict[int, list[Any]] = {
    ROW_ID: [1, 2, 3],
    TIMESTAMP: [T0, T0 + 1, T0 + 2],
    100: [-(2**63), 0, 2**63 - 1],
    101: [True, False, True],
    102: [-128, 0, 127],
    103: [-(2**15), 0, 2**15 - 1],
    104: [-(2**31), 0, 2**31 - 1],
    105: [0.5, -1.0, 0.0],
    106: [1e300, -1.0, 0.0],
    107: ["", 'ü"\\\n', "x" * 1000],
    108: [b"{}", b'{"a":[1,null]}', b"{ }"],
    109: [[], ["a"], ["ü", ""]],
    110: [b"\0" * 16, b"abcdefghijklmnop", b"\xff" * 16],
    111: [b"ab", b"\0\0", b"\xff\xff"],
    112: [b"12345678", b"\0" * 8, b"\xff" * 8],
    113: [b"87654321", b"\0" * 8, b"\xff" * 8],
    114: [b"\1\0\0\0\0\0\0?", b"", b"\2\0\0\0\0\0\0?"],
    115: [7, None, -7],
}


def joined(arrays: list[Any]) -> Any:
    return pa.concat_arrays(arrays)
