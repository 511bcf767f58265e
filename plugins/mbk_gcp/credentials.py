"""Access tokens: google-auth finds the credentials and renews them; here a token is held as long as it is valid.

What google-auth raises becomes a `NoToken` here, so that nothing else needs it: with a token of the settings it is
not even imported.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from mbk.errors import AuthenticationFailed, MbkError, StorageUnavailable, UsageError
from mbk.plugin.failures import innermost, kind_of_class, one_line
from mbk.plugin.roles import PAUSE
from mbk_gcp.errors import NoToken

if TYPE_CHECKING:
    from mbk_gcp.settings import GcpSettings

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


class Token(Protocol):
    """What lets requests in. Thread-safe. ``project`` comes with the credentials, empty where they name none."""

    @property
    def project(self) -> str: ...

    def headers(self) -> Mapping[str, str]:
        """Of the next request, valid for some minutes."""

    def renew(self, refused: Mapping[str, str]) -> bool:
        """After the service refused these headers: whether there are others to try with."""


class FixedToken:
    """A token of the settings, which nobody can renew."""

    project = ""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def renew(self, refused: Mapping[str, str]) -> bool:  # noqa: ARG002
        return False


class RenewedToken:
    """google-auth's credentials: it says when a token is too old, and gets the next one. One thread at a time asks it."""

    def __init__(self, credentials: Any, project: str) -> None:
        import requests
        from google.auth.credentials import TokenState
        from google.auth.transport.requests import Request

        self.project = project
        self._credentials = credentials
        self._fresh, self._stale = TokenState.FRESH, TokenState.STALE
        #: By `time.monotonic`, when the renewal of a token that went stale is tried again.
        self._again = 0.0
        # With a session of its own, or google-auth makes one that retries. The token service has a public certificate.
        self._ask = Request(session=requests.Session())
        self._lock = Lock()
        self._headers: Mapping[str, str] = {}

    def headers(self) -> Mapping[str, str]:
        if not self._headers or not self._holds():
            with self._lock:
                self._headers = self._renewed()
        return self._headers

    def _holds(self) -> bool:
        state = self._credentials.token_state
        return state is self._fresh or (state is self._stale and time.monotonic() < self._again)

    def _renewed(self) -> Mapping[str, str]:
        """The token that goes stale is good for some minutes more, where no other can be had."""
        if self._headers and self._holds():  # another thread was faster
            return self._headers
        try:
            with _telling():
                return self._made()
        except NoToken:
            if self._headers and self._credentials.token_state is self._stale:
                self._again = time.monotonic() + PAUSE
                return self._headers
            raise

    def renew(self, refused: Mapping[str, str]) -> bool:
        with self._lock, _telling():
            if self._headers == refused:
                self._credentials.refresh(self._ask)
                self._headers = self._made()
        return True

    def _made(self) -> Mapping[str, str]:
        made: dict[str, str] = {}
        # It reads neither method nor URL.
        self._credentials.before_request(self._ask, "GET", "", made)
        return made


def token_of(settings: GcpSettings) -> Token:
    """By the one way in that the settings choose; finding the default credentials may ask the metadata server."""
    if settings.use_iam:
        return _default()
    if settings.credentials_file:
        return _of_service_account(settings.credentials_file)
    if token := settings.session_token.get_secret_value():
        return FixedToken(token)
    return _default()


def _default() -> Token:
    import google.auth

    with _telling():
        credentials, project = google.auth.default(scopes=_SCOPES)
    return RenewedToken(credentials, project or "")


def _of_service_account(path: str) -> Token:
    from google.oauth2 import service_account

    try:
        info = json.loads(Path(path).read_text("utf-8"))
        kind = info.get("type") if isinstance(info, dict) else None
        if kind != "service_account":
            raise UsageError(
                "{file} is not the key file of a service account",
                code="key-file-wrong",
                hint="for other kinds of credentials set GOOGLE_APPLICATION_CREDENTIALS and useIAM",
                file=path,
            )
        made = service_account.Credentials.from_service_account_info(info, scopes=_SCOPES)
    except (ValueError, OSError) as exc:
        # The parser's own words may quote the key.
        raise UsageError(
            "{file} cannot be read as the key file of a service account", code="key-file-damaged", file=path
        ) from exc
    return RenewedToken(made, info.get("project_id") or "")


@contextmanager
def _telling() -> Iterator[None]:
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAuthError as exc:
        raise failure(exc) from exc


def failure(exc: Exception) -> NoToken:
    """An exception of google-auth."""
    from google.auth import exceptions as auth

    unavailable = (auth.TransportError, auth.TimeoutError, auth.ResponseError)
    kinds: dict[type[BaseException], type[MbkError]] = dict.fromkeys(unavailable, StorageUnavailable)
    kind = kind_of_class(exc, {auth.GoogleAuthError: AuthenticationFailed, **kinds})
    hints: dict[type[BaseException], str] = {
        auth.DefaultCredentialsError: "set credentialsFile, or accessKeyID and secretAccessKey",
        auth.RefreshError: "check the key file, that its account exists, and this machine's clock",
    }
    return NoToken(
        StorageUnavailable if getattr(exc, "retryable", False) else kind,
        one_line(_words(exc)),
        next((hints[base] for base in type(exc).__mro__ if base in hints), None),
    )


def _words(exc: Exception) -> str:
    """google-auth gives a sentence, and behind it the whole answer, which says the same once more."""
    first = exc.args[0] if exc.args else ""
    if isinstance(first, BaseException):
        # Of the HTTP library, whose own words hold addresses.
        inner = innermost(first)
        words = inner.strerror if isinstance(inner, OSError) else ""
        return f"the credentials could not be had: {words or type(inner).__name__}"
    return str(first) or type(exc).__name__


def project_of(token: Token) -> str:
    """The project to make a bucket in, empty where nothing names one."""
    return token.project or os.environ.get("GOOGLE_CLOUD_PROJECT", "")
