"""For SDKs that send with the library requests: a session for them, and its failures as those of `mbk.plugin.http`.

Needs requests installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from mbk.plugin.http import (
    Answer,
    AnswerTimedOut,
    ConnectionLost,
    ConnectTimedOut,
    Headers,
    NoProxy,
    NotConnected,
    SendingFailed,
)


class _Adapter(HTTPAdapter):
    """Trusts the given authority whatever the environment says: a session's own ``verify`` would give way to it."""

    def __init__(self, ca_cert: str) -> None:
        self._ca_cert = ca_cert
        # One call is one attempt: the engine retries.
        super().__init__(max_retries=0)

    def send(self, *request: Any, **how: Any) -> requests.Response:
        if self._ca_cert:
            how["verify"] = self._ca_cert
        return super().send(*request, **how)


def session_of(ca_cert: str, check: Callable[[Answer], object]) -> requests.Session:
    """For one attempt a request. ``check`` raises what it refuses, redirects among them, before the SDK sees the answer."""

    def read(response: requests.Response, **_: object) -> None:
        headers = Headers({name.lower(): value for name, value in response.headers.items()})
        check(Answer(response.status_code, headers, response.content))

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(ca_cert))
    session.hooks["response"].append(read)
    return session


def failure_of(exc: requests.RequestException) -> SendingFailed:
    """To be raised from it. The texts of requests hold addresses of objects, so they are not told."""
    if isinstance(exc, requests.ConnectTimeout):
        return ConnectTimedOut("timed out while connecting")
    if isinstance(exc, requests.exceptions.ProxyError):
        return NoProxy("the proxy does not connect")
    if isinstance(exc, requests.ReadTimeout):
        return AnswerTimedOut("timed out waiting for the answer")
    if isinstance(exc, requests.exceptions.SSLError) or _is_unconnected(exc):
        return NotConnected("could not connect")
    return ConnectionLost("the connection was lost")


def _is_unconnected(exc: requests.RequestException) -> bool:
    return any(isinstance(getattr(arg, "reason", None), NewConnectionError) for arg in exc.args)
