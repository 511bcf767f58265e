"""The generated messages and stubs of Milvus, and gRPC, in one place.

We use the stubs, because the client's own API is lossy: it drops ids, channels and properties.
"""

from __future__ import annotations

import os

# gRPC logs failed handshakes to stderr by itself; we report them as an error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc  # noqa: TID253  only connect() loads this

import mbk.milvus.stubs.common_pb2 as common
import mbk.milvus.stubs.milvus_pb2 as milvus
import mbk.milvus.stubs.msg_pb2 as msg
import mbk.milvus.stubs.schema_pb2 as schema
from mbk.milvus.stubs.milvus_pb2_grpc import MilvusServiceStub

__all__ = ["MilvusServiceStub", "common", "grpc", "milvus", "msg", "schema"]
