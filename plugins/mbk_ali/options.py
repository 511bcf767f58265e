"""`WriteOptions`, and the condition of a write, in the headers of OSS."""

from __future__ import annotations

from mbk.plugin import buckets
from mbk.plugin.wire import Terms
from mbk.ports.storage import WriteOptions

#: A retention holds for a whole bucket, in OSS's words: a policy of the bucket, not an option of a write.
HONOURED = frozenset({"storage_class", "encryption_key", "tags"})


def conditions(terms: Terms) -> dict[str, str]:
    """For PutObject and CompleteMultipartUpload. OSS ignores them in a bucket that keeps versions."""
    return {"x-oss-forbid-overwrite": "true"} if terms.if_absent else {}


def written_with(options: WriteOptions) -> dict[str, str]:
    """For PutObject and InitiateMultipartUpload."""
    return buckets.written_with(options, "x-oss-", by="KMS", named="server-side-encryption-key-id")


def copied_with(options: WriteOptions) -> dict[str, str]:
    """For CopyObject, which takes the source's tags unless it is told to replace them."""
    return written_with(options) | ({"x-oss-tagging-directive": "Replace"} if options.tags else {})
