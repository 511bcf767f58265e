"""One bucket of an S3 service as a storage."""

from __future__ import annotations

from mbk.plugin.conditions import require_installed
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import GIB, TIB, Capabilities, Location
from mbk_s3.settings import S3Settings
from mbk_s3.wire import DELETE_BATCH, MAX_KEY_BYTES, S3Wire

#: What all three profiles are called in a `Location`: the same bucket reached as ``minio`` and ``s3`` is one bucket.
FAMILY = "s3"


def open_storage(
    settings: S3Settings, *, backend: str = FAMILY, region: str | None = None
) -> ObjectStorage[S3Wire]:
    """Sends nothing. ``backend`` and ``region`` are those of a service whose buckets can be reached in another way, too.

    Raises `ModuleNotFoundError` where the SDK is not installed.
    """
    require_installed("botocore")
    return ObjectStorage(
        S3Wire(settings),
        location=Location(
            backend=backend,
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            root=settings.root,
            region=settings.signing_region if region is None else region,
        ),
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
        capabilities=Capabilities(
            server_side_copy=True,
            part_copy=settings.part_copy,
            conditional_write=settings.conditional_write,
            multipart=True,
            partial_prefixes=True,
            write_options=settings.honoured_options,
            max_copy_size=5 * GIB,
            max_object_size=5 * TIB,
            delete_batch=DELETE_BATCH,
            max_key_bytes=MAX_KEY_BYTES,
        ),
        condition_ignored=""
        if settings.profile_of_service.strict_conditions
        else "the service ignores If-None-Match",
    )
