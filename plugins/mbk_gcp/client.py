"""Making the SDK's client: endpoint, credentials, and one attempt a call."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import google.auth  # noqa: TID253  loaded only with an opened storage
import requests
from google.api_core.client_info import ClientInfo  # noqa: TID253  loaded only with an opened storage
from google.auth.transport.requests import (  # noqa: TID253  loaded only with an opened storage
    AuthorizedSession,
    Request,
)
from google.cloud import storage  # noqa: TID253  loaded only with an opened storage
from google.oauth2 import credentials as oauth2  # noqa: TID253  loaded only with an opened storage
from google.oauth2 import service_account  # noqa: TID253  loaded only with an opened storage
from requests.adapters import HTTPAdapter

from mbk.errors import UsageError

if TYPE_CHECKING:
    from mbk_gcp.settings import GcpSettings

#: Connecting, and waiting for an answer: long enough to assemble 10,000 parts or to rewrite for a round.
TIMEOUT = (10.0, 300.0)
#: As many as the engine's widest pool, with room for requests beside it.
CONNECTIONS = 256
#: Of every call that the SDK makes for us: the engine retries, the SDK does not.
ONCE: dict[str, Any] = {"retry": None, "timeout": TIMEOUT}

# Without it the SDK asks for the bucket's metadata in a thread of its own, to adorn traces that nobody takes.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


class _Adapter(HTTPAdapter):
    """Trusts the CA of the settings, which `requests` would give up for that of the environment."""

    def __init__(self, ca_cert: str) -> None:
        self.ca_cert = ca_cert
        super().__init__(pool_maxsize=CONNECTIONS)

    def send(self, *args: Any, **more: Any) -> Any:
        return super().send(*args, **more | ({"verify": self.ca_cert} if self.ca_cert else {}))


@dataclass(frozen=True, slots=True)
class Connection:
    """``client`` is the SDK's; ``session`` carries the same credentials, for what the SDK has no call for."""

    client: Any
    session: Any
    url: str

    def send(self, method: str, url: str, **more: Any) -> requests.Response:
        response: requests.Response = self.session.request(
            method, url, timeout=TIMEOUT, allow_redirects=False, **more
        )
        return response

    def xml_url(self, bucket: str, key: str | None, query: str) -> str:
        """A URL of the XML API, in path style: keys are one element, for ``..`` in a path would be resolved."""
        path = bucket if key is None else f"{bucket}/{quote(key, safe='')}"
        return f"{self.url}/{path}?{query}"

    def close(self) -> None:
        self.session.close()


def connect(settings: GcpSettings) -> Connection:
    """Sends nothing to the storage; finding the default credentials may ask the machine's metadata server."""
    credentials, project = _credentials(settings)
    # A session of its own, or google-auth makes one that retries. Google's token service has a public certificate.
    session: Any = AuthorizedSession(credentials, auth_request=Request(session=requests.Session()))
    adapter = _Adapter(settings.ca_cert)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    client = storage.Client(
        project=project or os.environ.get("GOOGLE_CLOUD_PROJECT"),
        credentials=credentials,
        _http=session,
        client_info=ClientInfo(user_agent="mbk"),
        client_options={"api_endpoint": settings.url},
    )
    return Connection(client, session, settings.url)


def _credentials(settings: GcpSettings) -> tuple[Any, str | None]:
    """Credentials, and the project that they come with (only needed to make a bucket)."""
    if settings.use_iam:
        return _default()
    if settings.credentials_file:
        return _of_service_account(settings.credentials_file)
    if token := settings.session_token.get_secret_value():
        return oauth2.Credentials(token), None
    return _default()


def _default() -> tuple[Any, str | None]:
    credentials, project = google.auth.default(scopes=_SCOPES)
    return credentials, project


def _of_service_account(path: str) -> tuple[Any, str | None]:
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
    return made, info.get("project_id")
