"""Reads and writes Milvus' binlogs, the objects that store rows and deletes.

See docs/reference/backup-format.md#segment-files.

This layer knows bytes, not storages: an object is a :class:`~mbk.binlog.blob.Blob`, read in ranges, so that memory holds
a batch of rows and never a whole segment. Everything except blobs and envelopes needs pyarrow, which comes with the extra
`parquet`; :mod:`mbk.binlog.arrow` raises a one-line error if it is missing. Import these modules lazily.
"""
