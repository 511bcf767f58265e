"""A bucket opened with HMAC keys: the service then speaks S3 and nothing else, so mbk's S3 storage serves it.

https://cloud.google.com/storage/docs/aws-simple-migration: the AWS4-HMAC-SHA256 signature and ``x-amz-`` headers.
"""

from __future__ import annotations

from mbk.plugin.objects import ObjectStorage
from mbk_gcp.settings import NAME, GcpSettings
from mbk_s3.profiles import Profile
from mbk_s3.settings import S3Settings
from mbk_s3.storage import open_storage
from mbk_s3.wire import S3Wire


class InteropSettings(S3Settings):
    """What holds of the dialect: no part copy, and on a PUT the service does not know ``If-None-Match``."""

    profile_of_service = Profile(NAME, "Google Cloud Storage with HMAC keys", tls=True, provider="gcp")


def open_by_keys(settings: GcpSettings) -> ObjectStorage[S3Wire]:
    """Sends nothing. The bucket is Google's, so its location says so."""
    return open_storage(_in_s3_words(settings), backend=NAME, region=settings.region)


def _in_s3_words(settings: GcpSettings) -> InteropSettings:
    return InteropSettings(
        address=settings.host,
        port=settings.effective_port,
        region=settings.region or "auto",
        use_ssl=settings.tls,
        ca_cert=settings.ca_cert,
        path_style=settings.path_style,
        access_key_id=settings.access_key_id,
        secret_access_key=settings.secret_access_key,
        bucket=settings.bucket,
        root_path=settings.root_path,
        milvus_address=settings.milvus_address,
        milvus_port=settings.milvus_port,
        conditional_write=False,
        part_copy=False,
    )
