"""`WriteOptions`, and the condition of a write, in the headers of OSS."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from mbk.plugin.wire import Terms
from mbk.ports.storage import WriteOptions

#: A retention holds for a whole bucket, in OSS's words: a policy of the bucket, not an option of a write.
HONOURED = frozenset({"storage_class", "encryption_key", "tags"})


def conditions(terms: Terms) -> dict[str, str]:
    """For PutObject and CompleteMultipartUpload. OSS ignores them in a bucket that keeps versions."""
    return {"x-oss-forbid-overwrite": "true"} if terms.if_absent else {}


def written_with(options: WriteOptions) -> dict[str, str]:
    """For PutObject and InitiateMultipartUpload."""
    asked = {}
    if options.storage_class:
        asked["x-oss-storage-class"] = options.storage_class
    if options.encryption_key:
        asked["x-oss-server-side-encryption"] = "KMS"
        asked["x-oss-server-side-encryption-key-id"] = options.encryption_key
    if options.tags:
        asked["x-oss-tagging"] = urlencode(options.tags, quote_via=quote)
    return asked


def copied_with(options: WriteOptions) -> dict[str, str]:
    """For CopyObject, which takes the source's tags unless it is told to replace them."""
    return written_with(options) | ({"x-oss-tagging-directive": "Replace"} if options.tags else {})
