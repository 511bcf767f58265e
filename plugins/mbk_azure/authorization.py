"""What lets a request in: the account's key, a shared access signature, or a token of an identity.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
"""

from __future__ import annotations

import base64
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from mbk.errors import UsageError
from mbk.plugin.headers import http_date
from mbk.plugin.roles import Role

if TYPE_CHECKING:
    from mbk_azure.settings import AzureSettings

#: Names and values that are not encoded yet.
Query = Sequence[tuple[str, str]]

_SCOPE = "https://storage.azure.com/.default"
_TENANT = re.compile(r"""authorization_uri=["']?https://[^/]+/([0-9A-Za-z.-]+)""")


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` as it is sent, encoded; header names as in the documents; ``length`` of the body in bytes."""

    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    length: int = 0


class Authorization(Protocol):
    """Thread-safe."""

    #: What is added to every query.
    query: str

    def headers(self, request: Request) -> Mapping[str, str]:
        """What is added to the request's headers."""

    def renew(self, challenge: str) -> bool:
        """After the service answered 401 with this challenge: whether another try has a chance."""


class SharedKey:
    query = ""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key)

    def headers(self, request: Request) -> Mapping[str, str]:
        own = {name: value for name, value in request.headers.items() if name.startswith("x-ms-")}
        own["x-ms-date"] = date = http_date(int(time.time()))
        text = self._text(request, own)
        signature = base64.b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode()
        return {"x-ms-date": date, "Authorization": f"SharedKey {self._account}:{signature}"}

    def renew(self, challenge: str) -> bool:  # noqa: ARG002  a key is not renewed
        return False

    def _text(self, request: Request, own: Mapping[str, str]) -> str:
        """Encoding, language, length, MD5, type, date, four conditions, range; then the headers and the resource."""
        given = request.headers.get
        standard = (
            f"{request.method}\n\n\n{request.length or ''}\n{given('Content-MD5', '')}\n{given('Content-Type', '')}\n\n\n"
            f"{given('If-Match', '')}\n{given('If-None-Match', '')}\n\n\n"
        )
        listed = "".join([f"{name}:{own[name]}\n" for name in sorted(own)])
        asked = "".join([f"\n{name.lower()}:{value}" for name, value in sorted(request.query)])
        return f"{standard}{listed}/{self._account}{request.path}{asked}"


class Signature:
    """A shared access signature, which is a part of the query."""

    def __init__(self, sas: str) -> None:
        self.query = sas

    def headers(self, request: Request) -> Mapping[str, str]:  # noqa: ARG002  nothing of a request is signed
        return {}

    def renew(self, challenge: str) -> bool:  # noqa: ARG002  whoever made it would have to make another
        return False


class Bearer:
    """Tokens of an identity of azure-identity, each held until five minutes before its end."""

    query = ""

    def __init__(self, credential: Any) -> None:
        self._credential = credential
        self._tenant = ""
        self._tokens = self._held()

    def headers(self, request: Request) -> Mapping[str, str]:  # noqa: ARG002  nothing of a request is signed
        return {"Authorization": f"Bearer {self._tokens.keys()}"}

    def renew(self, challenge: str) -> bool:
        """The account may belong to another tenant than the identity: the challenge names it."""
        found = _TENANT.search(challenge)
        self._tenant = found[1] if found else self._tenant
        self._tokens = self._held()
        return True

    def _held(self) -> Role[str]:
        return Role(self._fetched, name="identity")

    def _fetched(self) -> tuple[str, float]:
        more = {"tenant_id": self._tenant} if self._tenant else {}
        token = self._credential.get_token(_SCOPE, **more)
        return token.token, float(token.expires_on)


def authorization_of(settings: AzureSettings) -> Authorization:
    """Asks nobody: the first request with a token does."""
    connection = settings.connection
    if connection.sas:
        return Signature(connection.sas)
    if connection.key:
        return SharedKey(connection.account, connection.key)
    return Bearer(identity(settings))


def identity(settings: AzureSettings) -> Any:
    """The chain of azure-identity, for an account without a key and without a signature."""
    connection = settings.connection
    if not connection.url.startswith("https:"):
        raise UsageError(
            "account {account!r} has neither a key nor a SAS token, and tokens are sent over https only",
            code="token-needs-tls",
            hint="set accountKey, a SAS token or a connection string, or useSSL",
            account=connection.account,
        )
    from azure.identity import DefaultAzureCredential

    if settings.iam_endpoint:
        # The public cloud knows nothing of a private authority, so it is not asked about it.
        return DefaultAzureCredential(authority=settings.iam_endpoint, disable_instance_discovery=True)
    return DefaultAzureCredential()


def encoded(query: Query) -> str:
    return "&".join([f"{name}={quote(value, safe='')}" for name, value in query])
