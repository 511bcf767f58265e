"""What the engine needs of the outside: object storage and Milvus, as typed protocols."""
