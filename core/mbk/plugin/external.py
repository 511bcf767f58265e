"""For storages that Milvus itself can reach: in which words it is told where, and how it is let in.

A snapshot is written and read by Milvus, not by mbk: it takes a URI and a JSON text, ``external_spec``
(milvus: pkg/util/externalspec, internal/snapshotio/storage/resolver.go;
docs/reference/milvus-protocol.md#storages-that-milvus-reaches).
"""

from __future__ import annotations

import json

from mbk.errors import Unsupported


def external_uri(scheme: str, *parts: str) -> str:
    """``scheme://a/b/key`` of the parts that are not empty."""
    return f"{scheme}://{'/'.join(part for part in parts if part)}"


def external_uri_by_key(key: str, *, bucket: str, endpoint: str, milvus_endpoint: str, own: bool) -> str:
    """As `external_uri`, of a service that Milvus has no scheme for but the widespread one; ``milvus_endpoint`` is empty where it is ``endpoint``.

    Without an endpoint Milvus takes its own; the scheme ``minio`` is the one that carries an endpoint.
    """
    if own and not milvus_endpoint:
        return external_uri("s3", bucket, key)
    return external_uri("minio", milvus_endpoint or endpoint, bucket, key)


def external_spec(
    provider: str,
    *,
    tls: bool,
    region: str = "",
    keys: tuple[str, str] | None = None,
    token: str = "",
    iam_endpoint: str = "",
    credentials_json: str = "",
) -> str:
    """The JSON text, a secret. ``keys``: id and secret, None for the role of the machine that Milvus runs on.

    `Unsupported` for keys with a session token: Milvus takes none.
    """
    if token:
        raise Unsupported(
            "snapshots need credentials without a session token: Milvus does not accept one",
            code="session-token-unsupported",
            hint="use long-lived keys or a role (useIAM), or --format binlog",
        )
    extfs = {"cloud_provider": provider, "use_ssl": "true" if tls else "false"}
    if region:
        extfs["region"] = region
    if credentials_json:
        extfs["credential_json"] = credentials_json
    elif keys:
        extfs["access_key_id"], extfs["access_key_value"] = keys
    else:
        extfs["use_iam"] = "true"
        if iam_endpoint:
            extfs["iam_endpoint"] = iam_endpoint
    return json.dumps({"extfs": extfs})
