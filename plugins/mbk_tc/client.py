"""The SDK's clients, for requests that a run makes once: endpoint, credentials, and no retries."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Any

import requests
from qcloud_cos import CosConfig, CosS3Client  # noqa: TID253  loaded only with an opened storage

from mbk_tc.credentials import Credentials, source

if TYPE_CHECKING:
    from mbk_tc.settings import TcSettings

CONNECT_TIMEOUT = 10.0
#: Long enough for the service to copy 5 GiB or to assemble 10,000 parts before it answers.
READ_TIMEOUT = 300.0


class Clients:
    """One client at a time, replaced with its credentials: the SDK's own renewal forgets the token."""

    def __init__(self, settings: TcSettings) -> None:
        # What the SDK logs holds signatures and tokens, and repeats every error that is raised anyway.
        logging.getLogger("qcloud_cos").setLevel(logging.CRITICAL)
        self._settings = settings
        self._source = source(settings)
        self._session = _session()
        self._lock = Lock()
        self._made: tuple[Credentials, Any] | None = None

    def current(self) -> Any:
        """A thread-safe client with credentials that are valid now. Sends no request to the storage."""
        credentials = self._source()
        with self._lock:
            if self._made is None or self._made[0] != credentials:
                self._made = (credentials, self._client(credentials))
            return self._made[1]

    def close(self) -> None:
        self._session.close()

    def _client(self, credentials: Credentials) -> Any:
        settings = self._settings
        config = CosConfig(
            SecretId=credentials.secret_id,
            SecretKey=credentials.secret_key,
            Token=credentials.token or None,
            Scheme="https" if settings.tls else "http",
            Endpoint=settings.authority,
            # The address to connect to, when the name in the Host header is not one that resolves.
            IP=settings.authority if settings.without_names else None,
            Timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            VerifySSL=settings.ca_cert or None,
            # The SDK signs a name without its port, which a service at another port may take amiss.
            SignHost=settings.without_names or ":" not in settings.authority,
            UA="mbk",
        )
        # One call is one attempt: the engine retries.
        return CosS3Client(config, retry=0, session=self._session)


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(
            scheme,
            requests.adapters.HTTPAdapter(max_retries=0),
        )
    session.hooks["response"].append(_refuse_redirect)
    return session


def _refuse_redirect(response: requests.Response, **_: object) -> None:
    """The SDK takes a redirect for a success."""
    if 300 <= response.status_code < 400:
        raise requests.TooManyRedirects("the bucket is elsewhere", response=response)
