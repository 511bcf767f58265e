"""For storages over an SDK: its exceptions turned into those of :mod:`mbk.errors`, told in the words of all storages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from mbk.errors import (
    BucketNotFound,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
    TransferInterrupted,
    Unreachable,
    filled,
)
from mbk.frozen import frozen
from mbk.ports.storage import Location

_LASTING = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "doesn't match")
_LONGEST = 300
#: Sentences with one code each, which `mbk.plugin.conditions` has, too.
BUCKET_MISSING = "{place} does not exist"
OBJECT_MISSING = "object {key!r} does not exist in {place}"
OBJECT_EXISTS = "object {key!r} already exists in {place}"
_CANNOT = "cannot {doing} {where}: {reason}"


@frozen
class Place:
    """Where a call goes, for messages. With ``account`` the bucket is a container of it."""

    bucket: str
    endpoint: str
    account: str = ""

    @classmethod
    def of(cls, location: Location) -> Place:
        return cls(location.bucket, location.endpoint, location.account)

    @property
    def facts(self) -> dict[str, Any]:
        """For an error whose sentence names ``{place}``."""
        return {
            "place": str(self),
            "bucket": self.bucket,
            "endpoint": self.endpoint,
            "account": self.account,
        }

    def __str__(self) -> str:
        if self.account:
            return f"container {self.bucket!r} of account {self.account!r} at {self.endpoint}"
        return f"bucket {self.bucket!r} at {self.endpoint}"


class WireError(Exception):
    """What is wrong with an answer that no exception of the SDK says: as `MbkError`, told after what could not be done."""

    def __init__(
        self, kind: type[MbkError], reason: str, *, code: str = "", hint: str | None = None, **facts: object
    ) -> None:
        self.reason = filled(reason, facts)
        super().__init__(self.reason)
        self.kind = kind
        self.code = code
        self.hint = None if hint is None else filled(hint, facts)
        self.facts = facts


@frozen
class Translation:
    """What a vendor's exceptions mean. ``foreign`` are translated, all others pass: they are not the SDK's.

    ``kind_of`` and ``reason_of`` (one line, see `one_line`) read an exception; ``hint_of`` is asked for what the kind
    alone does not tell; ``is_of_upload`` says that it is an upload that was not found, and no object.
    """

    foreign: tuple[type[BaseException], ...]
    kind_of: Callable[[BaseException], type[MbkError]]
    reason_of: Callable[[BaseException], str]
    hint_of: Callable[[BaseException], str | None]
    is_of_upload: Callable[[BaseException], bool] = lambda exc: False  # noqa: ARG005
    bucket_hint: str = "create it, or check bucketName"

    @classmethod
    def of_codes(
        cls,
        *,
        foreign: tuple[type[BaseException], ...],
        kind_of: Callable[[BaseException], type[MbkError]],
        reason_of: Callable[[BaseException], str],
        code_of: Callable[[BaseException], str],
        hints: Mapping[str, str],
        bucket_hint: str = "create it, or check bucketName",
    ) -> Translation:
        """For services that answer with codes, "NoSuchUpload" among them; ``hints`` are by what ``code_of`` tells."""
        return cls(
            foreign=foreign,
            kind_of=kind_of,
            reason_of=reason_of,
            hint_of=lambda exc: hints.get(code_of(exc)),
            is_of_upload=lambda exc: code_of(exc) == "NoSuchUpload",
            bucket_hint=bucket_hint,
        )

    def guard(
        self, place: object, doing: str, key: str | None = None, *, streaming: bool = False
    ) -> AbstractContextManager[None]:
        """Around a call to the SDK. ``doing`` continues "cannot"; ``streaming``: inside an answer's body."""
        return _Guard(self, place, doing, key, streaming)

    def error(
        self,
        exc: BaseException,
        place: object,
        doing: str,
        key: str | None = None,
        *,
        streaming: bool = False,
    ) -> MbkError:
        kind = self.kind_of(exc)
        if streaming and kind is StorageUnavailable:
            kind = TransferInterrupted
        if kind is ObjectNotFound and key is None:
            kind = BucketNotFound
        code, sentence = self._told(kind, exc)
        facts = {**_facts(place, doing, key), "reason": self.reason_of(exc)}
        return kind(sentence, code=code, hint=self._hint(kind, exc), retryable=None, **facts)

    def _told(self, kind: type[MbkError], exc: BaseException) -> tuple[str, str]:
        """The code, empty for the one of the class, and the sentence."""
        if kind is BucketNotFound:
            return "bucket-missing", BUCKET_MISSING
        if kind is ObjectNotFound and not self.is_of_upload(exc):
            return "object-missing", OBJECT_MISSING
        if kind is ObjectExists:
            return "object-exists", OBJECT_EXISTS
        return "", _CANNOT

    def _hint(self, kind: type[MbkError], exc: BaseException) -> str | None:
        if kind is BucketNotFound:
            return self.bucket_hint
        if kind is Unreachable:
            return "check useSSL, and the CA certificate if the service has a private one"
        return self.hint_of(exc)


class _Guard(AbstractContextManager[None]):
    """A class, as a generator would cost three times as much around each request and each chunk."""

    __slots__ = ("_doing", "_key", "_place", "_streaming", "_translation")

    def __init__(
        self, translation: Translation, place: object, doing: str, key: str | None, streaming: bool
    ) -> None:
        self._translation = translation
        self._place = place
        self._doing = doing
        self._key = key
        self._streaming = streaming

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if exc is None or isinstance(exc, MbkError):
            return
        if isinstance(exc, WireError):
            facts = {**_facts(self._place, self._doing, self._key), **exc.facts, "reason": exc.reason}
            raise exc.kind(_CANNOT, code=exc.code, hint=exc.hint, retryable=None, **facts) from exc.__cause__
        if isinstance(exc, self._translation.foreign):
            raise self._translation.error(
                exc, self._place, self._doing, self._key, streaming=self._streaming
            ) from exc


def facts_of(place: object) -> dict[str, Any]:
    """A place as facts of an error whose sentence names ``{place}``."""
    return {"place": place, **(place.facts if isinstance(place, Place) else {})}


def _facts(place: object, doing: str, key: str | None) -> dict[str, Any]:
    facts = {**facts_of(place), "doing": doing, "where": place}
    if key is not None:
        facts |= {"key": key, "where": f"{key!r} in {place}"}
    return facts


def kind_of_class(
    exc: BaseException, by_class: Mapping[type[BaseException], type[MbkError]]
) -> type[MbkError]:
    """By the nearest ancestor that is listed; `StorageError` where none is."""
    return next((by_class[base] for base in type(exc).__mro__ if base in by_class), StorageError)


def is_lasting(exc: BaseException) -> bool:
    """A certificate that is not trusted, or a server without TLS, stays so; a broken handshake may pass."""
    return any(mark in str(exc) for mark in _LASTING)


def innermost(error: BaseException) -> BaseException:
    """What HTTP libraries wrapped in two or three errors of theirs: the system's own, where it is one."""
    seen = error
    while not (isinstance(seen, OSError) and seen.strerror):
        around = (getattr(seen, "reason", None), *seen.args, seen.__cause__, seen.__context__)
        inner = next((found for found in around if isinstance(found, BaseException)), seen)
        if inner is seen:
            break
        seen = inner
    return seen


def words_of_system(error: object) -> str:
    """The words of the innermost error, without the address of an object that a library put before them; may be empty."""
    if not isinstance(error, BaseException):
        return ""
    inner = innermost(error)
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner).rpartition(": ")[2]


def one_line(text: str) -> str:
    """The text on one line and short enough for a message."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
