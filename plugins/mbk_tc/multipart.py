"""One multipart upload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from requests.structures import CaseInsensitiveDict

from mbk.plugin.uploads import Part, PartsUpload, bare
from mbk.ports.storage import Storage
from mbk_tc.errors import translated

if TYPE_CHECKING:
    from mbk_tc.storage import TcStorage

#: Makes a write conditional, as the SDK takes headers that it does not know. COS ignores it in a bucket with versions.
FORBID_OVERWRITE = {"Metadata": {"x-cos-forbid-overwrite": "true"}}


class TcUpload(PartsUpload):
    """See :class:`mbk.ports.storage.MultipartUpload`. ``only_if_absent`` makes completing conditional."""

    def __init__(self, storage: TcStorage, key: str, *, only_if_absent: bool = False) -> None:
        super().__init__(storage, key, where=storage.place)
        self._storage = storage
        self._condition = FORBID_OVERWRITE if only_if_absent else {}
        with translated(storage.place, "start a multipart upload of", key):
            answer = storage.client.create_multipart_upload(**self._target(), **self._condition)
            self._id: str = answer["UploadId"]

    def put_part(self, number: int, data: bytes) -> None:
        with translated(self._storage.place, f"write part {number} of", self._key):
            answer = self._storage.client.upload_part(**self._of_upload(), PartNumber=number, Body=data)
            etag = headers(answer)["ETag"]
        self.remember(number, etag, len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        storage = self._storage
        origin = storage.copy_source(source, key)
        with translated(storage.place_of(source), f"copy part {number} from", key):
            answer = storage.client.upload_part_copy(
                **self._of_upload(),
                PartNumber=number,
                CopySource=origin,
                CopySourceRange=f"bytes={offset}-{offset + length - 1}",
            )
            etag = headers(answer)["ETag"]
        self.remember(number, etag, length)

    def send_complete(self, parts: Mapping[int, Part]) -> str | None:
        listed = [{"PartNumber": number, "ETag": part.etag} for number, part in parts.items()]
        with translated(self._storage.place, "complete the multipart upload of", self._key):
            answer = self._storage.client.complete_multipart_upload(
                **self._of_upload(), **self._condition, MultipartUpload={"Part": listed}
            )
        return bare(answer.get("ETag"))

    def send_abort(self) -> None:
        with translated(self._storage.place, "abort the multipart upload of", self._key):
            self._storage.client.abort_multipart_upload(**self._of_upload())

    def _target(self) -> dict[str, str]:
        return {"Bucket": self._storage.place.bucket, "Key": self._key}

    def _of_upload(self) -> dict[str, str]:
        return {**self._target(), "UploadId": self._id}


def headers(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The headers that the SDK copies out of an answer, under whatever case a proxy gave them."""
    return CaseInsensitiveDict(answer)
