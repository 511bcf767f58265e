"""One multipart upload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from oss2.models import PartInfo  # noqa: TID253  loaded only with an opened storage

from mbk.errors import Unsupported
from mbk.plugin.uploads import Part, PartsUpload
from mbk.ports.storage import Storage
from mbk_ali.errors import translated

if TYPE_CHECKING:
    from mbk_ali.storage import AliStorage

#: Makes a write conditional. OSS ignores it in a bucket that keeps versions.
FORBID_OVERWRITE = {"x-oss-forbid-overwrite": "true"}


class AliUpload(PartsUpload):
    """See :class:`mbk.ports.storage.MultipartUpload`. ``only_if_absent`` makes completing conditional."""

    def __init__(self, storage: AliStorage, key: str, *, only_if_absent: bool = False) -> None:
        super().__init__(storage, key, where=storage.place)
        self._storage = storage
        self._condition = FORBID_OVERWRITE if only_if_absent else {}
        with translated(storage.place, "start a multipart upload of", key):
            answer = storage.client.init_multipart_upload(key, headers=self._condition)
        self._id: str = answer.upload_id

    def put_part(self, number: int, data: bytes) -> None:
        with translated(self._storage.place, f"write part {number} of", self._key):
            answer = self._storage.client.upload_part(self._key, self._id, number, data)
        self.remember(number, answer.etag, len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        storage = self._storage
        if not storage.can_copy_from(source):
            raise Unsupported(f"no part copy from {source.location} to {storage.place}")
        storage.check_key(key, storage.place_of(source))
        with translated(storage.place_of(source), f"copy part {number} from", key):
            answer = storage.client.upload_part_copy(
                source.location.bucket,
                key,
                (offset, offset + length - 1),
                self._key,
                self._id,
                number,
            )
            storage.require_result(answer, "CopyPartResult")
        self.remember(number, answer.etag, length)

    def send_complete(self, parts: Mapping[int, Part]) -> str | None:
        listed = [PartInfo(number, part.etag) for number, part in parts.items()]
        with translated(self._storage.place, "complete the multipart upload of", self._key):
            answer = self._storage.client.complete_multipart_upload(
                self._key, self._id, listed, headers=self._condition
            )
            self._storage.require_result(answer, "CompleteMultipartUploadResult")
        etag: str | None = answer.etag
        return etag

    def send_abort(self) -> None:
        with translated(self._storage.place, "abort the multipart upload of", self._key):
            self._storage.client.abort_multipart_upload(self._key, self._id)
