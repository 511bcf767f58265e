"""The generated messages and stubs of Milvus in one place: the import that makes loading the adapter slow.

The stubs and not the client's own API, because that one is lossy: it drops ids, channels and properties.
"""

from __future__ import annotations

import os

# gRPC logs failed handshakes to stderr by itself; the caller gets them as one line of ours.
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
