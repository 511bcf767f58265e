"""The Zilliz Cloud calls that `migrate` needs, on the standard library's HTTP client.

See docs/reference/milvus-protocol.md#zilliz-cloud.

The fields of the responses are those in the public client of Milvus (pymilvus, ``bulk_writer/volume_file_manager.py``) and
in the service's REST reference (``/v2/migrations/startByRemote``). They were not verified with the service itself.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from mbk.config.schema import CloudSettings
from mbk.errors import AuthenticationFailed, ConfigError, MilvusError, MilvusUnavailable, Problem
from mbk.ports.cloud import Volume

SECONDS = 60.0
_MAX_ANSWER = 1 << 20
_KEY = "zillizCloud.apiKey"
_ENDPOINT = "zillizCloud.endpoint"
_LOGIN = (http.client.UNAUTHORIZED, http.client.FORBIDDEN)


class ZillizCloud:
    """Implements :class:`mbk.ports.cloud.Cloud`."""

    def __init__(self, settings: CloudSettings) -> None:
        key = settings.api_key.get_secret_value()
        problems = [] if key else [Problem(_KEY, "required by migrate")]
        if urlsplit(settings.endpoint).scheme not in ("http", "https"):
            problems.append(
                Problem(_ENDPOINT, f"expected an http:// or https:// URL, not {settings.endpoint!r}")
            )
        if problems:
            raise ConfigError("cloud", problems)
        self._endpoint = settings.endpoint.rstrip("/")
        self._key = settings.api_key

    def __repr__(self) -> str:
        return f"ZillizCloud({self._endpoint!r})"

    def apply_volume(self, cluster: str, path: str) -> Volume:
        data = self._post("/v2/volumes/apply", {"clusterId": cluster, "path": path})
        try:
            return _volume(data)
        except (KeyError, TypeError, ValueError) as exc:
            raise MilvusError(
                "{url}: unexpected response ({reason})",
                code="cloud-volume-invalid",
                url=f"{self._endpoint}/v2/volumes/apply",
                reason=exc,
            ) from None

    def start_migration(self, volume: str, path: str, cluster: str) -> str:
        source = {"stageName": volume, "dataPath": path}
        data = self._post(
            "/v2/migrations/startByRemote", {"source": source, "destination": {"clusterId": cluster}}
        )
        job = data.get("jobId")
        if not job:
            raise MilvusError(
                "{url}: the response has no job id",
                code="cloud-job-missing",
                url=f"{self._endpoint}/v2/migrations/startByRemote",
            )
        return str(job)

    def _post(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        place = f"{self._endpoint}{path}"
        request = urllib.request.Request(
            place,
            data=json.dumps(body).encode(),
            method="POST",
            headers={
                "Authorization": f"Bearer {self._key.get_secret_value()}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                answer = response.read(_MAX_ANSWER)
        except urllib.error.HTTPError as exc:
            with exc:
                raise _refusal(exc.code, exc.read(_MAX_ANSWER), place) from None
        except (OSError, http.client.HTTPException) as exc:
            reason = getattr(exc, "reason", exc)
            raise MilvusUnavailable(
                "{endpoint} does not respond: {reason}",
                code="cloud-unreachable",
                endpoint=self._endpoint,
                reason=reason,
                setting=_ENDPOINT,
                hint="check {setting}",
            ) from None
        return _data(answer, place)


def _data(answer: bytes, place: str) -> Mapping[str, Any]:
    """The service also returns 200 for refused requests: ``code`` in the body tells them apart."""
    try:
        body = json.loads(answer)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise MilvusError(
            "{url}: the response is not a JSON object",
            code="cloud-response-invalid",
            url=place,
            setting=_ENDPOINT,
            hint="check {setting}",
        )
    if body.get("code", 0) != 0:
        raise MilvusError(
            "{url}: {reason}",
            code="cloud-request-refused",
            url=place,
            reason=_line(str(body.get("message", "refused"))),
            server_code=int(body["code"]),
        )
    data = body.get("data")
    return data if isinstance(data, dict) else {}


def _refusal(
    status: int, answer: bytes, place: str
) -> MilvusError | AuthenticationFailed | MilvusUnavailable:
    try:
        said = json.loads(answer).get("message", "")
    except (ValueError, AttributeError, RecursionError):
        said = ""
    reason = _line(str(said)) or http.client.responses.get(status, "")
    if status in _LOGIN:
        return AuthenticationFailed(
            "{url} rejected the API key: {reason}",
            code="cloud-key-refused",
            url=place,
            reason=reason,
            setting=_KEY,
            hint="check {setting}",
        )
    if status >= http.client.INTERNAL_SERVER_ERROR or status == http.client.TOO_MANY_REQUESTS:
        return MilvusUnavailable(
            "{url} returned {status}: {reason}",
            code="cloud-unavailable",
            url=place,
            status=status,
            reason=reason,
            hint="try again later",
        )
    return MilvusError(
        "{url} returned {status}: {reason}",
        code="cloud-http-error",
        url=place,
        status=status,
        reason=reason,
        server_code=status,
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _volume(data: Mapping[str, Any]) -> Volume:
    credentials, condition = data["credentials"], data.get("condition") or {}
    url = urlsplit(data["endpoint"] if "//" in data["endpoint"] else f"https://{data['endpoint']}")
    values = {
        "address": url.hostname,
        "port": url.port,
        "use_ssl": url.scheme == "https",
        "region": data.get("region"),
        "bucket": data["bucketName"],
        "access_key_id": credentials.get("tmpAK"),
        "secret_access_key": _secret(credentials.get("tmpSK")),
        "session_token": _secret(credentials.get("sessionToken")),
    }
    prefix = str(data.get("uploadPath") or "").strip("/")
    return Volume(
        name=str(data["volumeName"]),
        storage_type=str(data["cloud"]).lower(),
        prefix=f"{prefix}/" if prefix else "",
        values={name: value for name, value in values.items() if value is not None and value != ""},
        expires=_moment(credentials.get("expireTime")),
        max_objects=int(condition.get("maxFileNumber") or 0),
        max_size=int(condition.get("maxContentLength") or 0),
    )


def _secret(text: str | None) -> SecretStr | None:
    return SecretStr(text) if text else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
