"""The requests of the Blob service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from azure.core.exceptions import (  # noqa: TID253  loaded only with an opened storage
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
)
from azure.storage.blob import (  # noqa: TID253  loaded only with an opened storage
    BlobBlock,
    BlobPrefix,
    BlobServiceClient,
    ContainerClient,
)

from mbk.errors import BucketNotFound, TransferInterrupted
from mbk.plugin.keys import fault_of_length
from mbk.plugin.wire import Body, Marker, Page, Part, Terms, Unfinished, Upload, WireError
from mbk.ports.storage import ObjectInfo, Receipt, Storage, WriteOptions, ability
from mbk_azure.answers import info_of, is_hidden, md5, receipt_of, require_object
from mbk_azure.blocks import IF_MISSING, block_id, drop, left_at, new_upload
from mbk_azure.client import connect
from mbk_azure.errors import TRANSLATION, code_of
from mbk_azure.external import spec, uri
from mbk_azure.options import encrypted_with, require_encrypted, written_with
from mbk_azure.settings import NAME, AzureSettings
from mbk_azure.signing import Signer, SignsReads

DELETE_BATCH = 256
MAX_KEY_BYTES = 1024

#: What the service or its URLs turn into another key.
_REFUSED = re.compile(r"[\x00-\x1f\x7f\\]|(?:^|/)\.\.?(?:/|$)")


class AzureWire:
    """See :class:`mbk.plugin.wire.Wire` and `CopiesFrom` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    failures = TRANSLATION

    def __init__(self, settings: AzureSettings) -> None:
        self.settings = settings
        self._lock = Lock()
        self._service: BlobServiceClient | None = None
        self._signer: Signer | None = None

    @property
    def service(self) -> BlobServiceClient:
        """The SDK's client of the account."""
        # Another storage's copy may be the first to ask, beside requests of this one.
        with self._lock:
            if self._service is None:
                self._service = connect(self.settings)
                self._signer = Signer(self.settings, self._service)
            return self._service

    @property
    def container(self) -> ContainerClient:
        return self.service.get_container_client(self.settings.bucket)

    def blob(self, key: str) -> Any:
        return self.service.get_blob_client(self.settings.bucket, key)

    def open(self) -> None:
        _ = self.service

    def close(self) -> None:
        if self._service is not None:
            self._service.close()

    def fault_of_key(self, key: str) -> str:
        why = fault_of_length(key, MAX_KEY_BYTES)
        refused = "it has control characters, a backslash, or an element . or .."
        return why or (refused if _REFUSED.search(key) else "")

    def external_uri(self, key: str, *, own: bool) -> str:  # noqa: ARG002  the account always stands in it
        return uri(self.settings, key)

    def external_spec(self) -> str:
        return spec(self.settings)

    def create_bucket(self) -> None:
        try:
            self.container.create_container()
        except ResourceExistsError as exc:
            # The SDK has one class for every 409: a container that is being deleted is none.
            if code_of(exc) != "ContainerAlreadyExists":
                raise

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        items, following = self._listing(
            level=level, token=token, name_starts_with=prefix, start_from=start_after, results_per_page=limit
        )
        prefixes = [item.name for item in items if isinstance(item, BlobPrefix)]
        objects = [item for item in items if not isinstance(item, BlobPrefix) and not is_hidden(item)]
        return Page(objects=[info_of(item.name, item) for item in objects], prefixes=prefixes, next=following)

    def head(self, key: str) -> ObjectInfo:
        properties = self.blob(key).get_blob_properties()
        require_object(properties)
        return info_of(key, properties)

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        """A range goes into requests of `mbk_azure.client.READ_CHUNK`, because the SDK reads each answer whole."""
        try:
            download = self.blob(key).download_blob(offset=offset, length=length, max_concurrency=1)
        except HttpResponseError as exc:
            if code_of(exc) not in ("InvalidRange", "416"):
                raise
            # Nothing is there from the offset on; of an empty object so at 0, which a directory is, too.
            self.head(key)
            return None
        require_object(download.properties)
        return Body(length=download.size, read=_of_one_object(download.read), close=lambda: None)

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        answer = self.blob(key).upload_blob(
            data, length=len(data), overwrite=not terms.if_absent, **written_with(terms.options)
        )
        require_encrypted(answer, terms.options)
        return receipt_of(answer, md5(answer.get("content_md5")))

    def start(self, key: str, terms: Terms) -> Upload:
        """No request: an upload is a name, see :mod:`mbk_azure.blocks`."""
        written_with(terms.options)
        return Upload(key=key, id=new_upload(), terms=terms)

    def put_part(self, upload: Upload, number: int, data: bytes) -> str:
        options = upload.terms.options
        answer = self.blob(upload.key).stage_block(
            block_id(upload.id, number), data, length=len(data), **encrypted_with(options)
        )
        require_encrypted(answer, options)
        return ""

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        url = _signed_url(source, key)
        options = upload.terms.options
        with self._telling_the_container():
            answer = self.blob(upload.key).stage_block_from_url(
                block_id(upload.id, number),
                url,
                source_offset=offset,
                source_length=length,
                **encrypted_with(options),
            )
        require_encrypted(answer, options)
        return ""

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        """May be sent again when its answer was lost: blocks that were committed are found among the object's."""
        listed = [BlobBlock(block_id(upload.id, part.number)) for part in parts]
        condition = IF_MISSING if upload.terms.if_absent else {}
        return receipt_of(
            self.blob(upload.key).commit_block_list(listed, **condition, **written_with(upload.terms.options))
        )

    def abort(self, upload: Upload) -> bool:
        return drop(self.blob(upload.key), upload.id)

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        items, following = self._listing(
            token=marker[0], name_starts_with=prefix, include=["metadata", "uncommittedblobs"]
        )
        left = [(item.name, left_at(item)) for item in items]
        return Unfinished(
            uploads=[(key, upload) for key, upload in left if upload is not None],
            next=(following, "") if following else None,
        )

    def delete(self, key: str) -> None:
        self.blob(key).delete_blob()

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        answers = [*self.container.delete_blobs(*keys, raise_on_any_failure=False)]
        if len(answers) != len(keys):
            # A batch that the service cannot read is answered by one part.
            return dict.fromkeys(keys, "")
        statuses = zip(keys, (answer.status_code for answer in answers), strict=True)
        return {key: "" for key, status in statuses if status != 404 and not 200 <= status < 300}

    def copies_from(self, source: Storage) -> bool:
        """Any account of any Azure: the URL that the source signs says where it is."""
        return _signs(source) is not None

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        url = _signed_url(source, source_key)
        with self._telling_the_container():
            answer = self.blob(key).start_copy_from_url(url, requires_sync=True, **written_with(options))
        require_encrypted(answer, options)
        return receipt_of(answer)

    def signed_url(self, key: str) -> str:
        """See :class:`mbk_azure.signing.SignsReads`."""
        url = self.blob(key).url
        assert self._signer
        return f"{url}?{self._signer.sign(key)}"

    def _listing(self, *, level: bool = False, token: str = "", **asked: Any) -> tuple[list[Any], str]:
        """The items of one page, and the token of the next. The service may give empty pages in the middle."""
        chosen = {"include": ["metadata"]} | {name: value for name, value in asked.items() if value}
        container = self.container
        listing: Any = container.walk_blobs(**chosen) if level else container.list_blobs(**chosen)
        pages = listing.by_page(token or None)
        items = [*next(pages)]
        return items, pages.continuation_token or ""

    @contextmanager
    def _telling_the_container(self) -> Iterator[None]:
        """What fails in a copy is told of the source; only the destination's container can be missing so."""
        try:
            yield
        except HttpResponseError as exc:
            if code_of(exc) != "ContainerNotFound":
                raise
            raise WireError(
                BucketNotFound,
                "container {bucket!r} does not exist",
                code="bucket-missing",
                hint=TRANSLATION.bucket_hint,
                bucket=self.settings.bucket,
            ) from exc


def _signs(source: Storage) -> SignsReads | None:
    return ability(source, SignsReads) if source.location.backend == NAME else None


def _signed_url(source: Storage, key: str) -> str:
    signs = _signs(source)
    assert signs  # `copies_from` was asked
    return signs.signed_url(key)


def _of_one_object(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def read_on(size: int) -> bytes:
        try:
            return read(size)
        except ResourceModifiedError as exc:
            raise WireError(
                TransferInterrupted, "it was replaced while it was read", code="object-replaced"
            ) from exc

    return read_on
