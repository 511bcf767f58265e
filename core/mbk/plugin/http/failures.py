"""What can go wrong between a request and its answer, and what each of it means as one of :mod:`mbk.errors`.

No text holds a header, a target or a password: they may be shown as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from mbk.errors import InvalidKey, MbkError, StorageUnavailable, Unreachable, UsageError
from mbk.plugin.failures import is_lasting, kind_of_class, words_of_system


class SendingFailed(OSError):
    """The base of all below. Its cause, where there is one, is the system's own error."""


class NotConnected(SendingFailed):
    """No connection to the service or its proxy came about, so nothing was sent."""


class NoProxy(NotConnected):
    """The proxy was not reached, or refused to connect."""


class ConnectTimedOut(NotConnected):
    """As `NotConnected`, for want of an answer in time."""


class AnswerTimedOut(SendingFailed):
    """Nothing came, or nothing could be sent, for as long as the read time-out; the service may have acted."""


class ConnectionLost(SendingFailed):
    """The connection ended before the answer did; the service may have acted."""


class BadAnswer(SendingFailed):
    """What came is no answer of HTTP/1.1, or larger than any that is expected."""


class Misconfigured(ValueError):
    """What the environment or a setting names cannot be used; another try would not help."""


class BadProxy(Misconfigured):
    """The proxy that the environment names cannot be used."""


class WantsTls(Misconfigured):
    """A plain request is answered with the way to https: by the service, or by a balancer before it."""


class BadTrust(Misconfigured):
    """The certificates of authorities cannot be read."""


#: What a vendor's plugin translates of a `Sender`; ValueError is of a request that cannot be written as HTTP.
FOREIGN = (OSError, ValueError)

#: By the exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[MbkError]] = {
    OSError: StorageUnavailable,
    Misconfigured: UsageError,
    UnicodeEncodeError: InvalidKey,
}

#: By the name of the exception.
HINTS: dict[str, str] = {
    "ConnectTimedOut": "check the address, the port and the firewall",
    "NotConnected": "check the address and the port, and that the service runs",
    "NoProxy": "check the variables http_proxy, https_proxy and no_proxy",
    "BadProxy": "check the variables http_proxy, https_proxy and no_proxy",
    "WantsTls": "set useSSL",
    "BadTrust": "check caCert, and the variables REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE",
}


def kind_of(
    exc: BaseException, of_vendor: Mapping[type[BaseException], type[MbkError]] | None = None
) -> type[MbkError]:
    """By `BY_CLASS` and the vendor's own additions to it. TLS that will not come about tomorrow either: `Unreachable`."""
    cause = exc.__cause__
    if isinstance(exc, NotConnected) and isinstance(cause, OSError) and is_lasting(cause):
        return Unreachable
    return kind_of_class(exc, {**BY_CLASS, **(of_vendor or {})})


def reason_of(exc: BaseException) -> str:
    """What went wrong, for people, without an address."""
    if isinstance(exc, NoProxy):
        words = words_of_system(exc.__cause__)
        return f"{exc}: {words}" if words else str(exc)
    if isinstance(exc, NotConnected):
        return words_of_system(exc.__cause__) or str(exc) or "could not connect"
    return str(exc)
