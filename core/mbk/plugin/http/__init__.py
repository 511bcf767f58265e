"""HTTP/1.1 for the requests that a storage makes by the thousand: a `Sender` of kept connections to one service.

It costs a third of the standard library's client and a fifth of urllib3's, which is the SDKs' (docs/explanation/copying.md),
and does what storages need: TLS, proxies, time-outs, streamed answers. What it does not: follow redirects, retry answers,
cookies, encodings of contents.

    origin = Origin(host="store.example")
    sender = Sender(origin, trust=trusting(ca_file), proxy=proxy_of_environment(origin))
    answer = sender.send("GET", "/bucket/key", {"Authorization": "..."}, streamed=True)
"""

from __future__ import annotations

from mbk.plugin.http.answers import Headers
from mbk.plugin.http.bodies import FIRST_BYTE, body_of, checked_body, size_of
from mbk.plugin.http.dialling import Timeouts, trusting
from mbk.plugin.http.environment import sender_to
from mbk.plugin.http.failures import (
    BY_CLASS,
    FOREIGN,
    HINTS,
    AnswerTimedOut,
    BadAnswer,
    BadProxy,
    BadTrust,
    ConnectionLost,
    ConnectTimedOut,
    Misconfigured,
    NoProxy,
    NotConnected,
    SendingFailed,
    WantsTls,
    kind_of,
    reason_of,
)
from mbk.plugin.http.origin import Origin, Proxy, proxy_of_environment
from mbk.plugin.http.sender import KEPT, Answer, Sender, Stream

__all__ = [
    "BY_CLASS",
    "FIRST_BYTE",
    "FOREIGN",
    "HINTS",
    "KEPT",
    "Answer",
    "AnswerTimedOut",
    "BadAnswer",
    "BadProxy",
    "BadTrust",
    "ConnectTimedOut",
    "ConnectionLost",
    "Headers",
    "Misconfigured",
    "NoProxy",
    "NotConnected",
    "Origin",
    "Proxy",
    "Sender",
    "SendingFailed",
    "Stream",
    "Timeouts",
    "WantsTls",
    "body_of",
    "checked_body",
    "kind_of",
    "proxy_of_environment",
    "reason_of",
    "sender_to",
    "size_of",
    "trusting",
]
