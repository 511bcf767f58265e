"""The generated messages and stubs of Milvus in one place: this import makes loading the adapter slow.

We use the stubs, because the client's own API is lossy: it drops ids, channels and properties.
"""

from __future__ import annotations

import os

# gRPC logs failed handshakes to stderr by itself; we report them as an error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: TID253  only connect() loads this
import pymilvus.grpc_gen.common_pb2 as common  # noqa: TID253  as above
import pymilvus.grpc_gen.milvus_pb2 as milvus  # noqa: TID253  as above
import pymilvus.grpc_gen.msg_pb2 as msg  # noqa: TID253  as above
import pymilvus.grpc_gen.schema_pb2 as schema  # noqa: TID253  as above
from pymilvus.grpc_gen.milvus_pb2_grpc import (  # noqa: TID253  as above
    MilvusServiceStub,
)

__all__ = ["MilvusServiceStub", "common", "grpc", "milvus", "msg", "schema"]
