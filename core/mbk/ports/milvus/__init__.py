"""What the engine needs of Milvus, as typed protocols by role."""
