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
from urllib.parse import urlencode

from mbk.plugin.http import SendingFailed
from mbk.plugin.roles import Keys, fetched, fetched_document, source_of

if TYPE_CHECKING:
    from mbk_ali.settings import AliSettings

METADATA = "http://100.100.100.200"
STS = "https://sts.aliyuncs.com"
ROLES = "/latest/meta-data/ram/security-credentials/"
#: Id, secret, token.
VARIABLES = (
    ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"),
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
)
TOKEN_FILE = "ALIBABA_CLOUD_OIDC_TOKEN_FILE"


def source(settings: AliSettings) -> Callable[[], Keys]:
    """See `source_of`."""
    endpoint = settings.iam_endpoint.rstrip("/")
    named = bool(os.environ.get(TOKEN_FILE))
    return source_of(
        settings,
        VARIABLES,
        by_token=(lambda: _told(of_service_account(endpoint or STS))) if named else None,
        by_machine=lambda: _told(of_instance(endpoint or METADATA)),
        role="RAM role",
    )


def _told(answer: Mapping[str, Any]) -> tuple[Keys, float]:
    """Of credentials as the services spell them."""
    expires = datetime.strptime(answer["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    keys = Keys(answer["AccessKeyId"], answer["AccessKeySecret"], answer["SecurityToken"])
    return keys, expires.timestamp()


def of_instance(metadata: str) -> Mapping[str, Any]:
    """The credentials of the ECS instance's only role."""
    headers = {}
    with suppress(SendingFailed):
        asked = {"X-aliyun-ecs-metadata-token-ttl-seconds": "60"}
        token = fetched("PUT", f"{metadata}/latest/api/token", asked)
        headers["X-aliyun-ecs-metadata-token"] = token
    role = fetched("GET", f"{metadata}{ROLES}", headers).strip()
    return fetched_document("GET", f"{metadata}{ROLES}{role}", headers)


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
    typed = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = fetched_document("POST", f"{sts}/?{urlencode(call)}", typed, urlencode(question).encode())
    credentials: Mapping[str, Any] = answer["Credentials"]
    return credentials
