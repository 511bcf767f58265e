"""Who may do what: service accounts with keys of their own, access tokens, and a machine's metadata server."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.gcs_store import Answer, Refusal, Request

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: What the documents tell to sign for, and the SDK does, wherever the endpoint stands.
_AUDIENCE = "https://oauth2.googleapis.com/token"
_SCOPE = "https://www.googleapis.com/auth/devstorage."
_METADATA = "/computeMetadata/v1/"


@dataclass(slots=True)
class Account:
    """``buckets`` are patterns of the buckets that it may do everything with; ``reads`` those it may only read."""

    email: str
    buckets: tuple[str, ...]
    key: rsa.RSAPrivateKey
    reads: set[str] = field(default_factory=set)

    def may(self, permission: str, bucket: str) -> bool:
        if permission in ("storage.objects.get", "storage.objects.list") and bucket in self.reads:
            return True
        return any(fnmatchcase(bucket, pattern) for pattern in self.buckets)

    def key_file(self, token_uri: str) -> dict[str, str]:
        """The document that the console hands out: https://cloud.google.com/iam/docs/keys-create-delete"""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": self.email,
            "token_uri": token_uri,
        }


class Accounts:
    """``machine`` is the account whose tokens the metadata server gives."""

    def __init__(self) -> None:
        self.by_email: dict[str, Account] = {}
        self.by_token: dict[str, Account] = {}
        self.machine: Account | None = None

    def add(self, name: str, buckets: tuple[str, ...]) -> Account:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        account = Account(f"{name}@project.iam.gserviceaccount.com", buckets, key)
        self.by_email[account.email] = account
        return account

    def token(self, account: Account) -> str:
        token = f"ya29.{uuid4().hex}"
        self.by_token[token] = account
        return token

    def caller(self, request: Request) -> Account:
        """The account of the bearer token, as https://cloud.google.com/storage/docs/json_api/v1/status-codes#401 says."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or token not in self.by_token:
            raise Refusal(401, "authError", "Invalid Credentials", "AuthenticationRequired")
        return self.by_token[token]

    def require(self, caller: Account, permission: str, bucket: str) -> None:
        if not caller.may(permission, bucket):
            what = "object" if ".objects." in permission else "bucket"
            message = (
                f"{caller.email} does not have {permission} access to the Google Cloud Storage {what}. "
                f"Permission '{permission}' denied on resource (or it may not exist)."
            )
            raise Refusal(403, "forbidden", message, "AccessDenied")

    def exchange(self, request: Request) -> Answer:
        """A signed assertion for an access token: https://developers.google.com/identity/protocols/oauth2/service-account"""
        form = parse_qs(request.body.decode())
        try:
            if form["grant_type"] != [_GRANT]:
                return _refused("unsupported_grant_type", "Invalid grant_type")
            claims = self._verified(form["assertion"][0])
        except (KeyError, ValueError, InvalidSignature):
            return _refused("invalid_grant", "Invalid JWT Signature.")
        now = time.time()
        if claims["aud"] != _AUDIENCE or not claims["iat"] - 60 <= now < claims["exp"]:
            return _refused("invalid_grant", "Invalid JWT.")
        if not claims["scope"].startswith(_SCOPE):
            return _refused("invalid_scope", "Invalid OAuth scope.")
        return _token_answer(self.token(self.by_email[claims["iss"]]))

    def _verified(self, assertion: str) -> dict[str, Any]:
        head, body, signature = assertion.split(".")
        claims: dict[str, Any] = json.loads(_decoded(body))
        public = self.by_email[claims["iss"]].key.public_key()
        public.verify(_decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        return claims

    def metadata(self, request: Request) -> Answer:
        """https://cloud.google.com/compute/docs/metadata/querying-metadata: only with its header, which answers carry too."""
        flavor = {"Metadata-Flavor": "Google"}
        if request.headers.get("metadata-flavor") != "Google":
            return Answer(403)
        what = request.path.removeprefix(_METADATA)
        if self.machine is None:
            return Answer(404, b"", flavor)
        if what.endswith("/token"):
            return _token_answer(self.token(self.machine), **flavor)
        if what.startswith("instance/service-accounts/"):
            scopes = [f"{_SCOPE}read_write"]
            return Answer.json(
                {"email": self.machine.email, "scopes": scopes, "aliases": ["default"]}, **flavor
            )
        texts = {"/": "", "project/project-id": "project", "universe/universe-domain": "googleapis.com"}
        if what not in texts:
            return Answer(404, b"", flavor)
        return Answer(200, texts[what].encode(), {"Content-Type": "application/text", **flavor})


def _token_answer(token: str, **headers: str) -> Answer:
    return Answer.json({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}, **headers)


def _refused(error: str, description: str) -> Answer:
    return Answer.json({"error": error, "error_description": description}, 400)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
