"""Backups by snapshots that Milvus exports and restores itself."""
