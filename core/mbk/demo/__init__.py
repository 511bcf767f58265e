"""The server of `mbk demo`: a real Milvus from the PyPI package `milvus`, without Docker."""
