"""Where keys come from when none are set: the environment, a pod's CAM role, an instance's CAM role.

Sources: cloud.tencent.com, "Instance roles" (metadata service of CVM) and "AssumeRoleWithWebIdentity" (STS); the
variables are those of coscli, of Tencent Cloud's SDKs and of TKE.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbk.plugin.roles import Keys, Role, fetched, fetched_document, keys_of_environment, no_keys

if TYPE_CHECKING:
    from mbk_tc.settings import TcSettings

METADATA = "http://metadata.tencentyun.com"
STS = "https://sts.tencentcloudapi.com"
ROLES = "/latest/meta-data/cam/security-credentials/"
#: Id, secret, token.
VARIABLES = (
    ("COS_SECRET_ID", "COS_SECRET_KEY", "COS_SESSION_TOKEN"),
    ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN"),
)
TOKEN_FILE = "TKE_WEB_IDENTITY_TOKEN_FILE"


def source(settings: TcSettings) -> Callable[[], Keys]:
    """What gives this storage's keys, each time before they are used. Asks nobody: its first call does."""
    if settings.static_keys:
        given: Keys | None = Keys(*settings.static_keys)
    else:
        given = None if settings.use_iam else keys_of_environment(VARIABLES)
    if given:
        lasting = given
        return lambda: lasting
    base = settings.iam_endpoint.rstrip("/")
    if os.environ.get(TOKEN_FILE):
        return _role(lambda: of_service_account(base or STS, settings.home_region))
    if not settings.use_iam:
        raise no_keys(settings.bucket, settings.endpoint, VARIABLES[0])
    return _role(lambda: of_instance(base or METADATA))


def _role(fetch: Callable[[], Mapping[str, Any]]) -> Callable[[], Keys]:
    """``fetch`` returns the keys as the services spell them."""

    def told() -> tuple[Keys, float]:
        answer = fetch()
        names = ("TmpSecretId", "TmpSecretKey", "Token")
        return Keys(*(answer[name] for name in names)), float(answer["ExpiredTime"])

    return Role(told, name="CAM role").keys


def of_instance(metadata: str) -> Mapping[str, Any]:
    """The credentials of the CVM instance's role."""
    role = fetched("GET", f"{metadata}{ROLES}").strip()
    return fetched_document("GET", f"{metadata}{ROLES}{role}")


def of_service_account(sts: str, region: str) -> Mapping[str, Any]:
    """The credentials of the role that the environment names, for the OIDC token that the cluster mounts."""
    headers = {
        "Content-Type": "application/json",
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
    answer = fetched_document("POST", f"{sts}/", headers, json.dumps(question).encode())
    response = answer["Response"]
    return {**response["Credentials"], "ExpiredTime": response["ExpiredTime"]}
