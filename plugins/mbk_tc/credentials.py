"""Where keys come from when none are set: the environment, a pod's CAM role, an instance's CAM role.

Sources: cloud.tencent.com, "Instance roles" (metadata service of CVM) and "AssumeRoleWithWebIdentity" (STS); the
variables are those of coscli, of Tencent Cloud's SDKs and of TKE.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import requests

from mbk.errors import AuthenticationFailed

if TYPE_CHECKING:
    from mbk_tc.settings import TcSettings

METADATA = "http://metadata.tencentyun.com"
STS = "https://sts.tencentcloudapi.com"
ROLES = "/latest/meta-data/cam/security-credentials/"
#: Temporary credentials are replaced this many seconds before they expire.
MARGIN = 300
SECONDS = 10
#: Id, secret, token.
VARIABLES = (
    ("COS_SECRET_ID", "COS_SECRET_KEY", "COS_SESSION_TOKEN"),
    ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN"),
)
TOKEN_FILE = "TKE_WEB_IDENTITY_TOKEN_FILE"


@dataclass(frozen=True, slots=True)
class Credentials:
    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


def source(settings: TcSettings) -> Callable[[], Credentials]:
    """What gives this storage's keys, each time before they are used. Asks nobody: its first call does."""
    if settings.static_keys:
        static = Credentials(*settings.static_keys)
        return lambda: static
    if not settings.use_iam:
        for names in VARIABLES:
            key, secret, token = (os.environ.get(name, "") for name in names)
            if key and secret:
                ambient = Credentials(key, secret, token)
                return lambda: ambient
    endpoint = settings.iam_endpoint.rstrip("/")
    if os.environ.get(TOKEN_FILE):
        return Role(lambda: of_service_account(endpoint or STS, settings.home_region))
    if settings.use_iam:
        return Role(lambda: of_instance(endpoint or METADATA))
    raise AuthenticationFailed(
        f"no credentials for bucket {settings.bucket!r} at {settings.endpoint}",
        hint="set accessKeyID and secretAccessKey, or useIAM, or COS_SECRET_ID and COS_SECRET_KEY",
    )


class Role:
    """Keys of a role, fetched anew before they expire. ``fetch`` returns them as the services spell them."""

    def __init__(self, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self._fetch = fetch
        self._lock = Lock()
        self._credentials: Credentials | None = None
        self._expires = 0.0

    def __call__(self) -> Credentials:
        with self._lock:
            if self._credentials is None or self._expires - time.time() < MARGIN:
                self._credentials = self._renewed()
            return self._credentials

    def _renewed(self) -> Credentials:
        try:
            answer = self._fetch()
            credentials = Credentials(answer["TmpSecretId"], answer["TmpSecretKey"], answer["Token"])
            expires = float(answer["ExpiredTime"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            if self._credentials and self._expires > time.time():
                return self._credentials
            raise AuthenticationFailed(
                f"no credentials of a CAM role were to be had ({type(exc).__name__})",
                hint="attach a CAM role, or set accessKeyID and secretAccessKey instead of useIAM",
            ) from exc
        self._expires = expires
        return credentials


def of_instance(metadata: str) -> Mapping[str, Any]:
    """The credentials of the CVM instance's role."""
    role = _answer(requests.get(f"{metadata}{ROLES}", timeout=SECONDS)).text.strip()
    credentials: Mapping[str, Any] = _answer(requests.get(f"{metadata}{ROLES}{role}", timeout=SECONDS)).json()
    return credentials


def of_service_account(sts: str, region: str) -> Mapping[str, Any]:
    """The credentials of the role that the environment names, for the OIDC token that the cluster mounts."""
    headers = {
        "Authorization": "SKIP",
        "X-TC-Action": "AssumeRoleWithWebIdentity",
        "X-TC-Version": "2018-08-13",
        "X-TC-Timestamp": str(int(time.time())),
        "X-TC-Region": os.environ.get("TKE_REGION") or region or "ap-guangzhou",
    }
    question = {
        "ProviderId": os.environ.get("TKE_PROVIDER_ID", ""),
        "WebIdentityToken": Path(os.environ[TOKEN_FILE]).read_text().strip(),
        "RoleArn": os.environ.get("TKE_ROLE_ARN", ""),
        "RoleSessionName": "mbk",
        "DurationSeconds": 7200,
    }
    answer = _answer(requests.post(f"{sts}/", headers=headers, json=question, timeout=SECONDS))
    response = answer.json()["Response"]
    return {**response["Credentials"], "ExpiredTime": response["ExpiredTime"]}


def _answer(response: requests.Response) -> requests.Response:
    response.raise_for_status()
    return response
