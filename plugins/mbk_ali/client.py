"""The SDK's bucket, for requests that a run makes once: endpoint, signature, and no retries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import oss2  # noqa: TID253  loaded only with an opened storage
from requests.adapters import HTTPAdapter

from mbk_ali.credentials import provider

if TYPE_CHECKING:
    from mbk_ali.settings import AliSettings

CONNECT_TIMEOUT = 10.0
#: Long enough for the service to copy 1 GiB or to assemble 10,000 parts before it answers.
READ_TIMEOUT = 300.0


class _Adapter(HTTPAdapter):
    """Trusts the given authority whatever the environment says: a session's own ``verify`` would give way to it."""

    def __init__(self, ca_cert: str) -> None:
        self._ca_cert = ca_cert
        # One call is one attempt: the engine retries.
        super().__init__(max_retries=0)

    def send(self, *request: Any, **how: Any) -> Any:
        if self._ca_cert:
            how["verify"] = self._ca_cert
        return super().send(*request, **how)


def connect(settings: AliSettings) -> Any:
    """A thread-safe client of one bucket. Sends no request."""
    # What the SDK logs holds signatures and tokens, and repeats every error that is raised anyway.
    logging.getLogger("oss2").setLevel(logging.CRITICAL)
    session = oss2.Session(adapter=_Adapter(settings.ca_cert))
    # A signed request cannot be sent elsewhere.
    session.session.max_redirects = 0
    region = settings.signing_region
    credentials = provider(settings)
    return oss2.Bucket(
        oss2.ProviderAuthV4(credentials) if region else oss2.ProviderAuth(credentials),
        settings.url,
        settings.bucket,
        session=session,
        connect_timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
        app_name="mbk",
        # The SDK's own checksum takes seconds of CPU a GiB; TLS protects the bytes already.
        enable_crc=False,
        region=region or None,
        is_path_style=bool(settings.path_style),
    )
