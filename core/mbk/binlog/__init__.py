"""Reading and writing Milvus' binlogs: the objects that rows and deletes are kept in.

See docs/reference/backup-format.md#segment-files.

A layer of its own that knows bytes and no storage: an object is a :class:`~mbk.binlog.blob.Blob`, read in ranges, so
that what is held is a batch of rows and never a segment. Everything but blobs and envelopes needs pyarrow, which comes
with the extra `parquet`; :mod:`mbk.binlog.arrow` says so in one line where it is missing. Import these modules lazily.
"""
