"""Backups of binlogs: the objects that Milvus itself keeps rows and deletes in."""
