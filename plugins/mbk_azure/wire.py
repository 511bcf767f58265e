"""The requests of the Blob service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from mbk.errors import BucketNotFound
from mbk.plugin.conditions import bucket_without_locks
from mbk.plugin.failures import Translation
from mbk.plugin.headers import byte_range
from mbk.plugin.http import FIRST_BYTE, body_of, size_of
from mbk.plugin.keys import fault_of_length
from mbk.plugin.refusals import Refused
from mbk.plugin.wire import Body, Data, Marker, Page, Part, Terms, Unfinished, Upload, WireError
from mbk.ports.storage import ObjectInfo, Receipt, Retention, Storage, WriteOptions, ability
from mbk_azure.answers import info_of, is_hidden, listed_info, md5, receipt_of, require_copied, require_object
from mbk_azure.blocks import drop, encoded_id, left_at, new_upload
from mbk_azure.documents import Listed, block_list, listed
from mbk_azure.errors import TRANSLATION, code_of
from mbk_azure.external import spec, uri
from mbk_azure.options import (
    encrypted_with,
    lock_of,
    locked_with,
    require_encrypted,
    written_on,
    written_with,
)
from mbk_azure.service import Service
from mbk_azure.settings import NAME, AzureSettings
from mbk_azure.signing import Signer, SignsReads

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

DELETE_BATCH = 256
MAX_KEY_BYTES = 1024

CONTENT_TYPE = "application/octet-stream"

#: What the service or its URLs turn into another key.
_REFUSED = re.compile(r"[\x00-\x1f\x7f\\]|(?:^|/)\.\.?(?:/|$)")


class AzureWire:
    """See :class:`mbk.plugin.wire.Wire` and `CopiesFrom` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    def __init__(self, settings: AzureSettings) -> None:
        self.settings = settings
        self._lock = Lock()
        self._sdk: BlobServiceClient | None = None

    @cached_property
    def failures(self) -> Translation:
        """With a key or a signature the SDK is not loaded."""
        connection = self.settings.connection
        if connection.key or connection.sas:
            return TRANSLATION
        from mbk_azure.sdk_errors import TRANSLATION as with_sdk

        return with_sdk

    @cached_property
    def requests(self) -> Service:
        return Service(self.settings)

    @cached_property
    def _signer(self) -> Signer:
        return Signer(self.settings, lambda: self.service)

    @property
    def service(self) -> BlobServiceClient:
        """The SDK's client of the account, for the delegation keys of an identity."""
        with self._lock:
            if self._sdk is None:
                from mbk_azure.client import connect

                self._sdk = connect(self.settings)
            return self._sdk

    def open(self) -> None:
        _ = self.requests

    def close(self) -> None:
        if "requests" in vars(self):
            self.requests.close()
        if self._sdk is not None:
            self._sdk.close()

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
            self.requests.send("PUT", None, 201, query=(("restype", "container"),))
        except Refused as exc:
            # A container that is being deleted is none.
            if code_of(exc) != "ContainerAlreadyExists":
                raise

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        page = self._listing(
            prefix=prefix,
            delimiter="/" if level else "",
            marker=token,
            startFrom=start_after,
            maxresults=str(limit or ""),
            include="metadata",
        )
        objects = [listed_info(item) for item in page.items if not is_hidden(item.metadata)]
        return Page(objects=objects, prefixes=page.prefixes, next=page.next)

    def head(self, key: str) -> ObjectInfo:
        answer = self.requests.send("HEAD", key, 200)
        require_object(answer.headers)
        return info_of(key, answer.headers, size=lambda: self._size(key))

    def _size(self, key: str) -> int:
        try:
            return size_of(
                self.requests.send("GET", key, 206, headers={"x-ms-range": FIRST_BYTE}, streamed=True)
            )
        except Refused as exc:
            if code_of(exc) in ("InvalidRange", "416"):
                return 0
            raise

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        span = byte_range(offset, length)
        headers = {"x-ms-range": span} if span else {}
        try:
            answer = self.requests.send("GET", key, 206 if span else 200, headers=headers, streamed=True)
        except Refused as exc:
            if code_of(exc) not in ("InvalidRange", "416"):
                raise
            # Nothing is there from the offset on; of an empty object so at 0, which a directory is, too.
            self.head(key)
            return None
        body = body_of(answer, span)
        try:
            require_object(answer.headers)
        except WireError:
            body.close()
            raise
        return body

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": CONTENT_TYPE, **written_on(terms)}
        answer = self.requests.send(
            "PUT", key, 201, headers=headers, body=data, repeatable=not terms.if_absent
        )
        require_encrypted(answer.headers, terms.options)
        return receipt_of(answer.headers, md5(answer.headers.get("Content-MD5")))

    def start(self, key: str, terms: Terms) -> Upload:
        """No request: an upload is a name, see :mod:`mbk_azure.blocks`."""
        written_with(terms.options)
        return Upload(key=key, id=new_upload(), terms=terms)

    def put_part(self, upload: Upload, number: int, data: Data) -> str:
        return self._staged(upload, number, {"Content-Type": CONTENT_TYPE}, data)

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        origin = {
            "x-ms-copy-source": _signed_url(source, key),
            "x-ms-source-range": byte_range(offset, length),
        }
        with self._telling_the_container():
            return self._staged(upload, number, origin)

    def _staged(self, upload: Upload, number: int, headers: Mapping[str, str], data: Data = b"") -> str:
        options = upload.terms.options
        query = (("comp", "block"), ("blockid", encoded_id(upload.id, number)))
        asked = {**headers, **encrypted_with(options)}
        answer = self.requests.send(
            "PUT", upload.key, 201, query=query, headers=asked, body=data, repeatable=True
        )
        require_encrypted(answer.headers, options)
        return ""

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        """May be sent again when its answer was lost: blocks that were committed are found among the object's."""
        headers = {"Content-Type": "application/xml", **written_on(upload.terms)}
        body = block_list(encoded_id(upload.id, part.number) for part in parts)
        query = (("comp", "blocklist"),)
        answer = self.requests.send("PUT", upload.key, 201, query=query, headers=headers, body=body)
        return receipt_of(answer.headers)

    def abort(self, upload: Upload) -> bool:
        return drop(self.requests, upload.key, upload.id)

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        page = self._listing(prefix=prefix, marker=marker[0], include="metadata,uncommittedblobs")
        left = [(item.name, left_at(item)) for item in page.items]
        return Unfinished(
            uploads=[(key, upload) for key, upload in left if upload is not None],
            next=(page.next, "") if page.next else None,
        )

    def delete(self, key: str) -> None:
        self.requests.send("DELETE", key, 202, repeatable=True)

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        answers = self.requests.delete(keys)
        if len(answers) != len(keys):
            # A batch that the service cannot read is answered by one part.
            return dict.fromkeys(keys, "")
        statuses = zip(keys, (status for status, _ in answers), strict=True)
        return {key: "" for key, status in statuses if status != 404 and not 200 <= status < 300}

    def copies_from(self, source: Storage) -> bool:
        """Any account of any Azure: the URL that the source signs says where it is."""
        return _signs(source) is not None

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        origin = {"x-ms-copy-source": _signed_url(source, source_key), "x-ms-requires-sync": "true"}
        headers = {**origin, **written_with(options)}
        with self._telling_the_container():
            answer = self.requests.send("PUT", key, 202, headers=headers, repeatable=True)
        require_copied(answer.headers)
        require_encrypted(answer.headers, options)
        return receipt_of(answer.headers)

    def require_locks(self) -> None:
        """Policies of single objects need a container with immutability for versions."""
        answer = self.requests.send("GET", None, 200, query=(("restype", "container"),))
        if answer.headers.get("x-ms-immutable-storage-with-versioning-enabled", "").lower() != "true":
            raise bucket_without_locks()

    def lock(self, key: str, retention: Retention) -> None:
        """The service would shorten a policy that is not locked itself."""
        found = self.locked(key, "")
        if found is None or not found.covers(retention):
            query = (("comp", "immutabilityPolicies"),)
            self.requests.send("PUT", key, 200, query=query, headers=locked_with(retention), repeatable=True)

    def locked(self, key: str, version: str) -> Retention | None:
        query = (("versionid", version),) if version else ()
        return lock_of(self.requests.send("HEAD", key, 200, query=query).headers)

    def signed_url(self, key: str) -> str:
        """See :class:`mbk_azure.signing.SignsReads`."""
        return f"{self.requests.url(key)}?{self._signer.sign(key)}"

    def _listing(self, **asked: str) -> Listed:
        """One page, which may be empty in the middle."""
        query = [("restype", "container"), ("comp", "list"), *(pair for pair in asked.items() if pair[1])]
        return listed(self.requests.send("GET", None, 200, query=query).content)

    @contextmanager
    def _telling_the_container(self) -> Iterator[None]:
        """What fails in a copy is told of the source; only the destination's container can be missing so."""
        try:
            yield
        except Refused as exc:
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
