"""The requests of `benchmarks.vendors` as each vendor's SDK makes them: one attempt a call, connections kept, no checksum of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

import azure.storage.blob
import google.cloud.storage
import google.oauth2.credentials
import oss2
import qcloud_cos

from mbk_ali.settings import AliSettings
from mbk_azure.settings import AzureSettings
from mbk_gcp.settings import GcpSettings
from mbk_tc.settings import TcSettings

#: Of every call: one attempt.
ONCE: dict[str, Any] = {"retry": None}
LARGE = 64 * 1024 * 1024
READ_CHUNK = 8 * 1024 * 1024


class Way(Protocol):
    """One way to make the requests. Keys are of one bucket; ``page`` returns the number of keys, ``get`` of bytes."""

    def copy(self, key: str, to: str) -> object: ...
    def head(self, key: str) -> object: ...
    def page(self, prefix: str) -> int: ...
    def put(self, key: str, data: bytes) -> object: ...
    def get(self, key: str) -> int: ...
    def delete(self, keys: Sequence[str]) -> object: ...


class Gcp:
    def __init__(self, settings: GcpSettings) -> None:
        credentials = google.oauth2.credentials.Credentials(settings.session_token.get_secret_value())
        self.client = google.cloud.storage.Client(
            project="bench", credentials=credentials, client_options={"api_endpoint": settings.url}
        )
        self.bucket = self.client.bucket(settings.bucket)

    fields = "items(name,size,etag,updated,crc32c,md5Hash,storageClass),prefixes,nextPageToken"

    def _told(self, blob: Any) -> object:
        """What mbk wants to know; the SDK parses it when it is asked."""
        return blob.name, blob.size, blob.etag, blob.updated, blob.crc32c, blob.md5_hash, blob.storage_class

    def copy(self, key: str, to: str) -> object:
        return self.bucket.blob(to).rewrite(self.bucket.blob(key), **ONCE)

    def head(self, key: str) -> object:
        blob = self.bucket.blob(key)
        blob.reload(**ONCE)
        return self._told(blob)

    def page(self, prefix: str) -> int:
        page = next(self.client.list_blobs(self.bucket, prefix=prefix, fields=self.fields, **ONCE).pages)
        return len([self._told(blob) for blob in page])

    def put(self, key: str, data: bytes) -> object:
        return self.bucket.blob(key).upload_from_string(data, checksum="crc32c", **ONCE)

    def get(self, key: str) -> int:
        return len(self.bucket.blob(key).download_as_bytes(checksum="crc32c", **ONCE))

    def delete(self, keys: Sequence[str]) -> object:
        with self.client.batch(raise_exception=False):
            for key in keys:
                self.bucket.delete_blob(key, **ONCE)
        return None


class Azure:
    def __init__(self, settings: AzureSettings) -> None:
        connection = settings.connection
        service = azure.storage.blob.BlobServiceClient(
            connection.url,
            credential={"account_name": connection.account, "account_key": connection.key},
            max_single_get_size=READ_CHUNK,
            max_chunk_get_size=READ_CHUNK,
            max_single_put_size=LARGE,
            connection_data_block_size=256 * 1024,
            retry_total=0,
        )
        self.container = service.get_container_client(settings.bucket)
        self.sas = self._sas(settings)

    def _sas(self, settings: AzureSettings) -> str:
        connection = settings.connection
        return azure.storage.blob.generate_container_sas(
            connection.account,
            settings.bucket,
            account_key=connection.key,
            permission=azure.storage.blob.ContainerSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )

    def copy(self, key: str, to: str) -> object:
        source = f"{self.container.get_blob_client(key).url}?{self.sas}"
        return self.container.get_blob_client(to).start_copy_from_url(source, requires_sync=True)

    def head(self, key: str) -> object:
        return self.container.get_blob_client(key).get_blob_properties()

    def page(self, prefix: str) -> int:
        listing = self.container.list_blobs(
            name_starts_with=prefix, results_per_page=1000, include=["metadata"]
        )
        return len([*next(listing.by_page())])

    def put(self, key: str, data: bytes) -> object:
        return self.container.get_blob_client(key).upload_blob(data, length=len(data), overwrite=True)

    def get(self, key: str) -> int:
        return len(self.container.get_blob_client(key).download_blob(max_concurrency=1).readall())

    def delete(self, keys: Sequence[str]) -> object:
        return [*self.container.delete_blobs(*keys, raise_on_any_failure=False)]


class Ali:
    def __init__(self, settings: AliSettings) -> None:
        key, secret, _ = settings.static_keys or ("", "", "")
        self.bucket = oss2.Bucket(
            oss2.AuthV4(key, secret),
            settings.url,
            settings.bucket,
            enable_crc=False,
            region=settings.signing_region,
        )
        self.name = settings.bucket

    def copy(self, key: str, to: str) -> object:
        return self.bucket.copy_object(self.name, key, to)

    def head(self, key: str) -> object:
        return self.bucket.head_object(key)

    def page(self, prefix: str) -> int:
        return len(self.bucket.list_objects_v2(prefix=prefix, max_keys=1000).object_list)

    def put(self, key: str, data: bytes) -> object:
        return self.bucket.put_object(key, data)

    def get(self, key: str) -> int:
        return len(self.bucket.get_object(key).read())

    def delete(self, keys: Sequence[str]) -> object:
        return self.bucket.batch_delete_objects([*keys])


class Tc:
    def __init__(self, settings: TcSettings) -> None:
        key, secret, _ = settings.static_keys or ("", "", "")
        config = qcloud_cos.CosConfig(
            SecretId=key, SecretKey=secret, Scheme="http", Endpoint=settings.authority, IP=settings.authority
        )
        self.client = qcloud_cos.CosS3Client(config, retry=0)
        self.settings = settings

    @cached_property
    def target(self) -> dict[str, Any]:
        return {"Bucket": self.settings.bucket}

    def copy(self, key: str, to: str) -> object:
        source = {**self.target, "Key": key, "Endpoint": self.settings.authority}
        return self.client.copy_object(**self.target, Key=to, CopySource=source)

    def head(self, key: str) -> object:
        return self.client.head_object(**self.target, Key=key)

    def page(self, prefix: str) -> int:
        return len(self.client.list_objects(**self.target, Prefix=prefix, MaxKeys=1000)["Contents"])

    def put(self, key: str, data: bytes) -> object:
        return self.client.put_object(**self.target, Key=key, Body=data)

    def get(self, key: str) -> int:
        body = self.client.get_object(**self.target, Key=key)["Body"].get_raw_stream()
        return sum(len(chunk) for chunk in iter(lambda: body.read(1 << 20), b""))

    def delete(self, keys: Sequence[str]) -> object:
        return self.client.delete_objects(
            **self.target, Delete={"Quiet": "true", "Object": [{"Key": key} for key in keys]}
        )
