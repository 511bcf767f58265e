"""What `mbk demo` runs on: a real Milvus started from the PyPI package `milvus`, without Docker."""
