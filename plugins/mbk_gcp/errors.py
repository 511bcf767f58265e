"""Every failure of a request and of the service, as one of :mod:`mbk.errors`. Those of google-auth: `mbk_gcp.credentials`."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import mbk.errors as ours
from mbk.plugin import http, refusals
from mbk.plugin.failures import Translation, one_line
from mbk.plugin.http import Answer
from mbk.plugin.refusals import Refused


class NoToken(Exception):
    """The credentials give no token: what that means, in whose words, and what helps."""

    def __init__(self, kind: type[ours.MbkError], words: str, hint: str | None) -> None:
        super().__init__(words)
        self.kind = kind
        self.hint = hint


#: What is translated. Anything else, such as an exception of the caller's own iterable, is not ours to touch.
FOREIGN = (*http.FOREIGN, Refused, NoToken)

#: By the reason in the service's answer, where that says more than the status: the JSON API's, then the XML API's.
#: https://cloud.google.com/storage/docs/json_api/v1/status-codes and .../storage/docs/xml-api/reference-status
BY_REASON: dict[str, type[ours.MbkError]] = {
    "rateLimitExceeded": ours.Throttled,
    "userRateLimitExceeded": ours.Throttled,
    "dailyLimitExceeded": ours.StorageFull,
    "quotaExceeded": ours.StorageFull,
    "NoSuchBucket": ours.BucketNotFound,
    "InvalidSecurity": ours.AuthenticationFailed,
    "ExpiredToken": ours.AuthenticationFailed,
    "BadDigest": ours.TransferInterrupted,
    "IncompleteBody": ours.TransferInterrupted,
    "InvalidDigest": ours.TransferInterrupted,
    "InvalidURI": ours.InvalidKey,
    "KeyTooLongError": ours.InvalidKey,
}

BY_STATUS: dict[int, type[ours.MbkError]] = {
    **refusals.BY_STATUS,
    409: ours.Throttled,
    410: ours.TransferInterrupted,
}

HINTS: dict[int, str] = {401: "the token is wrong or has expired"}

#: The sentence with which the JSON API tells a missing bucket from a missing object.
_NO_BUCKET = "bucket does not exist"
_BAD_HASH = "doesn't match calculated"
_BAD_NAME = ("object name", "object length", "object id")


def refused(answer: Answer) -> Refused:
    return refusal(answer.status, answer.content.decode(errors="replace"))


def refusal(status: int, text: str) -> Refused:
    """With the service's reason (one word) and its message, of the JSON API or of the XML API."""
    return Refused(status, *_told(text))


def _told(text: str) -> tuple[str, str]:
    try:
        error = json.loads(text)["error"]
        details = error.get("errors") or [{}]
        return str(details[0].get("reason", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return "", "" if "<" in text else text
    return root.findtext("{*}Code") or "", root.findtext("{*}Details") or root.findtext("{*}Message") or ""


def _kind(exc: BaseException) -> type[ours.MbkError]:
    if isinstance(exc, NoToken):
        return exc.kind
    return _by_answer(exc) if isinstance(exc, Refused) else http.kind_of(exc)


def _by_answer(exc: Refused) -> type[ours.MbkError]:
    if exc.status == 404 and _NO_BUCKET in exc.message:
        return ours.BucketNotFound
    if exc.status == 400 and _BAD_HASH in exc.message:
        return ours.TransferInterrupted
    if exc.status == 400 and any(words in exc.message.lower() for words in _BAD_NAME):
        return ours.InvalidKey
    kind = BY_REASON.get(exc.code) or BY_STATUS.get(exc.status)
    return kind or (ours.StorageUnavailable if exc.status >= 500 else ours.StorageError)


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short. URLs are left out: an upload's holds its session's secret."""
    return one_line(str(exc) if isinstance(exc, Refused) else http.reason_of(exc))


def _hint(exc: BaseException) -> str | None:
    if isinstance(exc, NoToken):
        return exc.hint
    return HINTS.get(exc.status) if isinstance(exc, Refused) else http.HINTS.get(type(exc).__name__)


TRANSLATION = Translation(
    foreign=FOREIGN,
    kind_of=_kind,
    reason_of=reason,
    hint_of=_hint,
    is_of_upload=lambda exc: isinstance(exc, Refused) and exc.code == "NoSuchUpload",
)
translate = TRANSLATION.error
