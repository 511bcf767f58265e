"""The requests of COS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mbk.plugin.buckets import BucketWire, result, texts
from mbk.plugin.external import external_spec, external_uri_by_key
from mbk.plugin.headers import byte_range, info_of, receipt_of, required
from mbk.plugin.http import Answer
from mbk.plugin.keys import fault_of_path
from mbk.plugin.refusals import Refused
from mbk.plugin.wire import Body, Data, Page, Part, Terms, Upload
from mbk.ports.storage import ObjectInfo, Receipt, Storage, WriteOptions
from mbk_tc.errors import TRANSLATION
from mbk_tc.options import conditions, copied_with, written_with
from mbk_tc.requests import encoded_key, requests_of
from mbk_tc.settings import TcSettings, region_of

BACKEND = "tc"
DELETE_BATCH = 1000
MAX_KEY_BYTES = 850
#: As many as COS gives.
PAGE = 1000
#: What COS's own headers begin with.
PREFIX = "x-cos-"


class TcWire(BucketWire):
    """See :class:`mbk.plugin.wire.Wire` and `CopiesFrom` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    failures = TRANSLATION

    def __init__(self, settings: TcSettings) -> None:
        super().__init__(lambda: requests_of(settings))
        self.settings = settings

    def fault_of_key(self, key: str) -> str:
        """cloud.tencent.com, "Object overview"."""
        return fault_of_path(key, MAX_KEY_BYTES)

    def external_uri(self, key: str, *, own: bool) -> str:
        where = self.settings
        names = {"bucket": where.bucket, "endpoint": where.endpoint, "milvus_endpoint": where.milvus_endpoint}
        return external_uri_by_key(key, own=own, **names)

    def external_spec(self) -> str:
        settings = self.settings
        key, secret, token = settings.static_keys or ("", "", "")
        return external_spec(
            "tencent",
            region=settings.region or settings.home_region,
            tls=settings.tls,
            token=token,
            keys=(key, secret) if key else None,
            iam_endpoint=settings.iam_endpoint,
        )

    def copies_from(self, source: Storage) -> bool:
        """Between the buckets of one region, as far as names tell; whose they are does not matter."""
        if source.location.backend != BACKEND:
            return False
        region, host = self.settings.home_region, source.location.endpoint.rpartition(":")[0]
        return source.location.endpoint == self.settings.endpoint or (
            region != "" and region == region_of(host)
        )

    def create_bucket(self) -> None:
        # Loads the SDK, which no other request needs.
        from mbk_tc.client import create_bucket

        try:
            create_bucket(self.settings, self.requests.checked)
        except Refused as exc:
            if exc.name != "BucketAlreadyOwnedByYou":
                raise

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        return self.requests.page(
            "NextMarker",
            [
                ("prefix", prefix),
                ("delimiter", "/" if level else ""),
                ("marker", token or start_after),
                ("max-keys", str(limit or PAGE)),
            ],
        )

    def head(self, key: str) -> ObjectInfo:
        told = self.requests.send("HEAD", key).headers
        return info_of(key, told, PREFIX, size=lambda: self.requests.size(key, {}))

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        return self.requests.get(key, byte_range(offset, length), {})

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        headers = {**conditions(terms), **written_with(terms.options)}
        answer = self.requests.put(key, data, headers, repeatable=not terms.if_absent)
        return receipt_of(answer.headers, PREFIX)

    def start(self, key: str, terms: Terms) -> Upload:
        """Without the condition, which counts when the upload is completed."""
        return Upload(key=key, id=self.requests.start(key, written_with(terms.options)), terms=terms)

    def put_part(self, upload: Upload, number: int, data: Data) -> str:
        return str(required(self.requests.part(upload, number, data).headers, "ETag"))

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        headers = {
            "x-cos-copy-source": _origin(source, key),
            "x-cos-copy-source-range": byte_range(offset, length),
        }
        return str(required(_told(self.requests.part(upload, number, headers=headers)), "ETag"))

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        return receipt_of(_told(self.requests.complete(upload, parts, conditions(upload.terms))), PREFIX)

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        answer = result(self.requests.delete(keys, quiet=True))
        errors = [texts(error) for error in answer.iterfind("Error")]
        return {
            required(error, "Key"): f"{error.get('Message') or 'no reason given'} ({error.get('Code')})"
            for error in errors
            if error.get("Code") != "NoSuchKey"
        }

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        headers = {**copied_with(options), "x-cos-copy-source": _origin(source, source_key)}
        return receipt_of(_told(self.requests.send("PUT", key, headers=headers, repeatable=True)), PREFIX)


def _origin(source: Storage, key: str) -> str:
    """Host and key of the source. A default port is left out, as it is in a Host header."""
    endpoint = source.location.endpoint.removesuffix(":443").removesuffix(":80")
    return f"{source.location.bucket}.{endpoint}/{encoded_key(key)}"


def _told(answer: Answer) -> dict[str, str]:
    """What an answer of success tells of the object, whose body may still tell that it failed."""
    etag = required(texts(result(answer)), "ETag")
    checksum = f"{PREFIX}hash-crc64ecma"
    return {"ETag": etag, checksum: answer.headers.get(checksum, "")}
