"""One gRPC channel to one server: TLS, login, the database of each call, and errors as `mbk.errors`."""

from __future__ import annotations

import base64
import getpass
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mbk.about import __version__
from mbk.config.schema import MilvusSettings
from mbk.errors import ConfigError, PermissionDenied, Problem, Unsupported
from mbk.milvus.failures import check, from_rpc
from mbk.milvus.features import is_release
from mbk.milvus.proto import MilvusServiceStub, common, grpc, milvus
from mbk.model.records import DEFAULT_DATABASE

#: A running server answers the first call in milliseconds; for one that is down this is long enough to wait.
CONNECT_SECONDS = 10.0
CALL_SECONDS = 180.0
SDK_TYPE = "BackupToolCustomSDK"

# The engine retries: hidden retries would multiply with its own and hide the cause.
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.primary_user_agent", f"mbk/{__version__}"),
)


class Channel:
    """Connected once constructed, within ``patience`` seconds. ``versions``: the server's own strings, the most precise first."""

    def __init__(self, settings: MilvusSettings, *, patience: float = CONNECT_SECONDS) -> None:
        self.target = f"{settings.address}:{settings.port}"
        self.user = settings.user
        self._patience = patience
        self._metadata = _login(settings)
        self._channel = _open(settings, self.target)
        self._stub = MilvusServiceStub(self._channel)
        self.versions = self._connect()

    def __repr__(self) -> str:
        return f"Channel({self.target!r})"

    def close(self) -> None:
        self._channel.close()

    def call(
        self,
        method: str,
        request: Any,
        what: str,
        *,
        database: str = DEFAULT_DATABASE,
        timeout: float = CALL_SECONDS,
        checked: bool = True,
    ) -> Any:
        """The response to one attempt. ``what`` describes the call in errors; unchecked responses may be failures."""
        metadata = (*self._metadata, ("dbname", database))
        try:
            response = getattr(self._stub, method)(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as exc:
            raise from_rpc(exc, what, self.target) from exc
        if checked:
            check(response.status if hasattr(response, "status") else response, what)
        return response

    def stream(self, method: str, requests: Iterator[Any], *, extra: Sequence[tuple[str, str]] = ()) -> Any:
        """An open call that sends ``requests``; iterate it for the answers. Its errors are gRPC's own."""
        return getattr(self._stub, method)(requests, metadata=(*self._metadata, *extra))

    def implements(self, method: str, request: Any) -> bool:
        """Whether the server implements the call, whatever its answer to this request."""
        try:
            self.call(method, request, f"probe {method}", timeout=self._patience, checked=False)
        except Unsupported:
            return False
        except PermissionDenied:
            return True
        return True

    def _connect(self) -> tuple[str, ...]:
        info = common.ClientInfo(
            sdk_type=SDK_TYPE,
            sdk_version=__version__,
            local_time=time.strftime("%Y-%m-%d %H:%M:%S"),
            user=_user(),
            host=socket.gethostname(),
        )
        versions = []
        try:
            answer = self.call(
                "Connect", milvus.ConnectRequest(client_info=info), "connect", timeout=self._patience
            )
            self._metadata = (*self._metadata, ("identifier", str(answer.identifier)))
            versions.append(answer.server_info.build_tags)
        except Unsupported:
            pass
        if not any(is_release(version) for version in versions):
            request = milvus.GetVersionRequest()
            version = self.call("GetVersion", request, "get version", timeout=self._patience).version
            # More precise than a build tag that is not a release.
            versions.insert(0, version)
        return tuple(version for version in versions if version)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _login(settings: MilvusSettings) -> tuple[tuple[str, str], ...]:
    password = settings.password.get_secret_value()
    if not (settings.user or password):
        return ()
    token = base64.b64encode(f"{settings.user}:{password}".encode()).decode("ascii")
    return (("authorization", token),)


def _open(settings: MilvusSettings, target: str) -> Any:
    options: tuple[tuple[str, object], ...] = _OPTIONS
    if settings.tls_mode == "disabled":
        return grpc.insecure_channel(target, options=options)
    if settings.server_name:
        options += (("grpc.ssl_target_name_override", settings.server_name),)
    key = certificate = None
    if settings.tls_mode == "mutual":
        key = _read("milvus.mtlsKeyPath", settings.mtls_key_path)
        certificate = _read("milvus.mtlsCertPath", settings.mtls_cert_path)
    trusted = _read("milvus.caCertPath", settings.ca_cert_path) if settings.ca_cert_path else None
    return grpc.secure_channel(
        target, grpc.ssl_channel_credentials(trusted, key, certificate), options=options
    )


def _read(setting: str, path: str) -> bytes:
    if not path:
        raise ConfigError("milvus", [Problem(setting, "required for milvus.tlsMode mutual (2)")])
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        problem = Problem(setting, f"cannot read {path}: {exc.strerror}")
        raise ConfigError("milvus", [problem]) from exc
