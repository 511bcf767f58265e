"""The files of Milvus segments, written and read without any of mbk's own code.

`segment` has the two calls that most callers need; `binlog` and `deltalog` are storage version 1, `packed` version 2.
Values are those of `tests.milvus_double.state`. Reads what is broken as `CodecError`, with the words of the server.
"""

from tests.milvus_double.codec.columns import ROW_ID, TIMESTAMP, FieldSchema, system_fields
from tests.milvus_double.codec.deltalog import decode_deletes, encode_deletes, encode_packed_deletes
from tests.milvus_double.codec.events import CodecError, LogIds
from tests.milvus_double.codec.segment import columns_of, decode_columns, encode_columns, rows_of

__all__ = [
    "ROW_ID",
    "TIMESTAMP",
    "CodecError",
    "FieldSchema",
    "LogIds",
    "columns_of",
    "decode_columns",
    "decode_deletes",
    "encode_columns",
    "encode_deletes",
    "encode_packed_deletes",
    "rows_of",
    "system_fields",
]
