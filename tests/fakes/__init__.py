"""Stand-ins for what a unit test cannot have: a Milvus that keeps its data in a storage, and a process that dies."""
