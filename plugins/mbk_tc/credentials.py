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

from mbk.plugin.roles import Keys, fetched, fetched_document, source_of

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
    """See `source_of`."""
    base = settings.iam_endpoint.rstrip("/")

    def by_token() -> tuple[Keys, float]:
        return _told(of_service_account(base or STS, settings.home_region))

    def by_machine() -> tuple[Keys, float]:
        return _told(of_instance(base or METADATA))

    exchanged = by_token if os.environ.get(TOKEN_FILE) else None
    return source_of(settings, VARIABLES, by_token=exchanged, by_machine=by_machine, role="CAM role")


def _told(answer: Mapping[str, Any]) -> tuple[Keys, float]:
    """Of credentials as the services spell them."""
    names = ("TmpSecretId", "TmpSecretKey", "Token")
    return Keys(*(answer[name] for name in names)), float(answer["ExpiredTime"])


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
