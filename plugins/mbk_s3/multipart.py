"""One multipart upload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mbk.errors import Unsupported
from mbk.plugin.uploads import Part, PartsUpload, bare
from mbk.ports.storage import Storage
from mbk_s3.errors import translated

if TYPE_CHECKING:
    from mbk_s3.storage import S3Storage


class S3Upload(PartsUpload):
    """See :class:`mbk.ports.storage.MultipartUpload`. ``only_if_absent`` makes completing conditional."""

    def __init__(self, storage: S3Storage, key: str, *, only_if_absent: bool = False) -> None:
        super().__init__(storage, key, where=storage.place)
        self._storage = storage
        self._condition = {"IfNoneMatch": "*"} if only_if_absent else {}
        with translated(storage.place, "start a multipart upload of", key):
            self._id: str = storage.client.create_multipart_upload(**self._target())["UploadId"]

    def put_part(self, number: int, data: bytes) -> None:
        with translated(self._storage.place, f"write part {number} of", self._key):
            answer = self._storage.client.upload_part(**self._of_upload(), PartNumber=number, Body=data)
        self.remember(number, answer["ETag"], len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        storage = self._storage
        if not storage.capabilities.part_copy or not storage.can_copy_from(source):
            raise Unsupported(f"no part copy from {source.location} to {storage.place}")
        with translated(storage.place_of(source), f"copy part {number} from", key):
            answer = storage.client.upload_part_copy(
                **self._of_upload(),
                PartNumber=number,
                CopySource={"Bucket": source.location.bucket, "Key": key},
                CopySourceRange=f"bytes={offset}-{offset + length - 1}",
            )
        self.remember(number, answer["CopyPartResult"]["ETag"], length)

    def send_complete(self, parts: Mapping[int, Part]) -> str | None:
        listed = [{"PartNumber": number, "ETag": part.etag} for number, part in parts.items()]
        with translated(self._storage.place, "complete the multipart upload of", self._key):
            answer = self._storage.client.complete_multipart_upload(
                **self._of_upload(), **self._condition, MultipartUpload={"Parts": listed}
            )
        return bare(answer.get("ETag"))

    def send_abort(self) -> None:
        with translated(self._storage.place, "abort the multipart upload of", self._key):
            self._storage.client.abort_multipart_upload(**self._of_upload())

    def _target(self) -> dict[str, str]:
        return {"Bucket": self._storage.place.bucket, "Key": self._key}

    def _of_upload(self) -> dict[str, str]:
        return {**self._target(), "UploadId": self._id}
