"""The adapter of :mod:`mbk.ports.milvus` over pymilvus' channel and stubs."""
