"""One multipart upload, which on Azure is a list of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from azure.core import MatchConditions  # noqa: TID253  loaded only with an opened storage
from azure.storage.blob import BlobBlock  # noqa: TID253  loaded only with an opened storage

from mbk.errors import Unsupported
from mbk.plugin.streams import part_sizes
from mbk.plugin.uploads import Part, PartsUpload, bare
from mbk.ports.storage import Storage
from mbk_azure.errors import Source, translated
from mbk_azure.signing import CopySource

if TYPE_CHECKING:
    from mbk_azure.storage import AzureStorage

MAX_BLOCKS = 50_000


def block_sizes(size: int | None) -> Iterator[int]:
    """See `part_sizes`. Blocks of a stream of unknown length grow late: 50,000 of them make more than 9 TiB."""
    return part_sizes(size, max_parts=MAX_BLOCKS, grow_after=1000)


class AzureUpload(PartsUpload):
    """See :class:`mbk.ports.storage.MultipartUpload`. ``only_if_absent`` makes completing conditional.

    The service knows no uploads, only blocks that wait beside an object until a list of them is committed, which drops
    all others. Block ids carry the name of the upload, so that two uploads never mix; but the first one that completes
    drops the other's blocks, and the other fails.
    """

    def __init__(self, storage: AzureStorage, key: str, *, only_if_absent: bool = False) -> None:
        super().__init__(storage, key, where=storage.place)
        self._storage = storage
        self._condition = {"match_condition": MatchConditions.IfMissing} if only_if_absent else {}
        self._name = uuid4().hex[:16]
        self._client = storage.blob(key)

    def put_part(self, number: int, data: bytes) -> None:
        self.remember(number, "", len(data))
        with translated(self._storage.place, f"write part {number} of", self._key):
            self._client.stage_block(self._id(number), data, length=len(data))

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        if not isinstance(source, CopySource):
            raise Unsupported(f"no part copy from {source.location} to {self._storage.place}")
        url = source.signed_url(key)
        self.remember(number, "", length)
        origin = Source(source.place, key)
        with translated(self._storage.place, f"copy part {number} to", self._key, source=origin):
            self._client.stage_block_from_url(
                self._id(number), url, source_offset=offset, source_length=length
            )

    def send_complete(self, parts: Mapping[int, Part]) -> str | None:
        """May be sent again when its answer was lost: blocks that were committed are found among the object's."""
        listed = [BlobBlock(self._id(number)) for number in parts]
        with translated(self._storage.place, "complete the multipart upload of", self._key):
            answer: dict[str, Any] = self._client.commit_block_list(listed, **self._condition)
        return bare(answer.get("etag"))

    def send_abort(self) -> None:
        if self.has_parts:
            self._storage.discard(self._key, upload=self._name)

    def _id(self, number: int) -> str:
        """All ids of a blob must be of one length. The SDK encodes them."""
        return f"{self._name}-{number:07d}"
