"""A Milvus of a version that cannot be had here: a protocol double over real gRPC, real HTTP and real objects.

    with MilvusDouble("v2.5.8") as double:
        client = MilvusClient(double.uri)

`versions` says what each version can do, `state` what one server knows.
"""

from tests.milvus_double.server import MilvusDouble

__all__ = ["MilvusDouble"]
