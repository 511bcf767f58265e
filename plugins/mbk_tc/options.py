"""`WriteOptions`, and the condition of a write, in the headers of COS."""

from __future__ import annotations

from mbk.plugin import buckets
from mbk.plugin.wire import Terms
from mbk.ports.storage import WriteOptions

#: A retention holds for a whole bucket (object lock), in COS's words: a setting of the bucket, not an option of a write.
HONOURED = frozenset({"storage_class", "encryption_key", "tags"})


def conditions(terms: Terms) -> dict[str, str]:
    """For PutObject and CompleteMultipartUpload. COS ignores them in a bucket that keeps versions."""
    return {"x-cos-forbid-overwrite": "true"} if terms.if_absent else {}


def written_with(options: WriteOptions) -> dict[str, str]:
    """For PutObject and InitiateMultipartUpload."""
    named = "server-side-encryption-cos-kms-key-id"
    return buckets.written_with(options, "x-cos-", by="cos/kms", named=named)


def copied_with(options: WriteOptions) -> dict[str, str]:
    """For CopyObject, which takes the source's tags unless it is told to replace them."""
    return written_with(options) | ({"x-cos-tagging-directive": "Replaced"} if options.tags else {})
