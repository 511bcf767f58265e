"""Where keys come from when none are set: the environment, a pod's RAM role, an instance's RAM role.

Sources: help.aliyun.com, "Instance RAM roles" (metadata service, also in its hardened mode) and
"AssumeRoleWithOIDC" (STS); the variables are those of Alibaba Cloud's own credential chain and of ossutil.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import requests
from oss2.credentials import Credentials  # noqa: TID253  loaded only with an opened storage

from mbk.errors import AuthenticationFailed

if TYPE_CHECKING:
    from mbk_ali.settings import AliSettings

METADATA = "http://100.100.100.200"
STS = "https://sts.aliyuncs.com"
ROLES = "/latest/meta-data/ram/security-credentials/"
#: Temporary credentials are replaced this many seconds before they expire.
MARGIN = 300
SECONDS = 10
#: Id, secret, token.
VARIABLES = (
    ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"),
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
)
TOKEN_FILE = "ALIBABA_CLOUD_OIDC_TOKEN_FILE"


def provider(settings: AliSettings) -> Fixed | Role:
    """What signs this storage's requests. Asks nobody: the first request does."""
    if settings.static_keys:
        return Fixed(Credentials(*settings.static_keys))
    if not settings.use_iam:
        for names in VARIABLES:
            key, secret, token = (os.environ.get(name, "") for name in names)
            if key and secret:
                return Fixed(Credentials(key, secret, token))
    endpoint = settings.iam_endpoint.rstrip("/")
    if os.environ.get(TOKEN_FILE):
        return Role(lambda: of_service_account(endpoint or STS))
    if settings.use_iam:
        return Role(lambda: of_instance(endpoint or METADATA))
    raise AuthenticationFailed(
        f"no credentials for bucket {settings.bucket!r} at {settings.endpoint}",
        hint="set accessKeyID and secretAccessKey, or useIAM, or OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET",
    )


class Fixed:
    """Keys that stay."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def get_credentials(self) -> Any:
        return self._credentials


class Role:
    """Keys of a role, fetched anew before they expire. ``fetch`` returns them as the service spells them."""

    def __init__(self, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self._fetch = fetch
        self._lock = Lock()
        self._credentials: Any = None
        self._expires = 0.0

    def get_credentials(self) -> Any:
        with self._lock:
            if self._expires - time.time() < MARGIN:
                self._renew()
            return self._credentials

    def _renew(self) -> None:
        try:
            answer = self._fetch()
            credentials = Credentials(
                answer["AccessKeyId"], answer["AccessKeySecret"], answer["SecurityToken"]
            )
            expires = datetime.strptime(answer["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            if self._expires > time.time():
                return
            raise AuthenticationFailed(
                f"no credentials of a RAM role were to be had ({type(exc).__name__})",
                hint="attach a RAM role, or set accessKeyID and secretAccessKey instead of useIAM",
            ) from exc
        self._credentials, self._expires = credentials, expires.timestamp()


def of_instance(metadata: str) -> Mapping[str, Any]:
    """The credentials of the ECS instance's only role."""
    headers = {}
    with suppress(requests.RequestException):
        answer = requests.put(
            f"{metadata}/latest/api/token",
            headers={"X-aliyun-ecs-metadata-token-ttl-seconds": "60"},
            timeout=SECONDS,
        )
        if answer.ok:
            headers["X-aliyun-ecs-metadata-token"] = answer.text
    role = _answer(requests.get(f"{metadata}{ROLES}", headers=headers, timeout=SECONDS)).text.strip()
    credentials: Mapping[str, Any] = _answer(
        requests.get(f"{metadata}{ROLES}{role}", headers=headers, timeout=SECONDS)
    ).json()
    return credentials


def of_service_account(sts: str) -> Mapping[str, Any]:
    """The credentials of the role that the environment names, for the OIDC token that the cluster mounts."""
    question = {
        "RoleArn": os.environ.get("ALIBABA_CLOUD_ROLE_ARN", ""),
        "OIDCProviderArn": os.environ.get("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", ""),
        "OIDCToken": Path(os.environ[TOKEN_FILE]).read_text().strip(),
        "RoleSessionName": os.environ.get("ALIBABA_CLOUD_ROLE_SESSION_NAME", "mbk"),
    }
    call = {
        "Action": "AssumeRoleWithOIDC",
        "Version": "2015-04-01",
        "Format": "JSON",
        "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    answer = _answer(requests.post(f"{sts}/", params=call, data=question, timeout=SECONDS))
    credentials: Mapping[str, Any] = answer.json()["Credentials"]
    return credentials


def _answer(response: requests.Response) -> requests.Response:
    response.raise_for_status()
    return response
