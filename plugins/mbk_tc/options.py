"""`WriteOptions`, and the condition of a write, in the parameters of the SDK."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from mbk.plugin.wire import Terms
from mbk.ports.storage import WriteOptions

#: A retention holds for a whole bucket (object lock), in COS's words: a setting of the bucket, not an option of a write.
HONOURED = frozenset({"storage_class", "encryption_key", "tags"})


def conditions(terms: Terms) -> dict[str, Any]:
    """For PutObject and CompleteMultipartUpload. COS ignores them in a bucket that keeps versions.

    The SDK takes headers that it does not know as ``Metadata``.
    """
    return {"Metadata": {"x-cos-forbid-overwrite": "true"}} if terms.if_absent else {}


def written_with(options: WriteOptions) -> dict[str, Any]:
    """For PutObject and CreateMultipartUpload."""
    encrypted = {"ServerSideEncryption": "cos/kms", "SSEKMSKeyId": options.encryption_key}
    return {
        **({"StorageClass": options.storage_class} if options.storage_class else {}),
        **({"Tagging": urlencode(options.tags, quote_via=quote)} if options.tags else {}),
        **(encrypted if options.encryption_key else {}),
    }


def copied_with(options: WriteOptions) -> dict[str, Any]:
    """For CopyObject, which takes the source's tags unless it is told to replace them."""
    replaced = {"Metadata": {"x-cos-tagging-directive": "Replaced"}}
    return {**written_with(options), **(replaced if options.tags else {})}
