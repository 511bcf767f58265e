"""Where keys come from when none are set: the environment, a pod's RAM role, an instance's RAM role.

Sources: help.aliyun.com, "Instance RAM roles" (metadata service, also in its hardened mode) and
"AssumeRoleWithOIDC" (STS); the variables are those of Alibaba Cloud's own credential chain and of ossutil.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from oss2.credentials import Credentials  # noqa: TID253  loaded only with an opened storage

from mbk.plugin.roles import Role, keys_of_environment, no_keys

if TYPE_CHECKING:
    from mbk_ali.settings import AliSettings

METADATA = "http://100.100.100.200"
STS = "https://sts.aliyuncs.com"
ROLES = "/latest/meta-data/ram/security-credentials/"
#: Longer than a metadata service or STS takes to answer.
SECONDS = 10
#: Id, secret, token.
VARIABLES = (
    ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"),
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
)
TOKEN_FILE = "ALIBABA_CLOUD_OIDC_TOKEN_FILE"


class Provider:
    """What the SDK asks for credentials before each request."""

    def __init__(self, keys: Callable[[], Credentials]) -> None:
        self._keys = keys

    def get_credentials(self) -> Credentials:
        return self._keys()


def provider(settings: AliSettings) -> Provider:
    """What signs this storage's requests. Asks nobody: the first request does."""
    keys = settings.static_keys or (None if settings.use_iam else keys_of_environment(VARIABLES))
    if keys:
        credentials = Credentials(*keys)
        return Provider(lambda: credentials)
    endpoint = settings.iam_endpoint.rstrip("/")
    if os.environ.get(TOKEN_FILE):
        return _of_role(lambda: of_service_account(endpoint or STS))
    if settings.use_iam:
        return _of_role(lambda: of_instance(endpoint or METADATA))
    raise no_keys(settings.bucket, settings.endpoint, VARIABLES[0])


def _of_role(fetch: Callable[[], Mapping[str, Any]]) -> Provider:
    """``fetch`` returns the credentials as the service spells them."""

    def fetched() -> tuple[Credentials, float]:
        answer = fetch()
        expires = datetime.strptime(answer["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        keys = (answer["AccessKeyId"], answer["AccessKeySecret"], answer["SecurityToken"])
        return Credentials(*keys), expires.timestamp()

    return Provider(Role(fetched, name="RAM role").keys)


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
