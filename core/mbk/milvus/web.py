"""JSON requests to Milvus' HTTP ports, REST and management: one attempt each, exact integers, no proxies."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mbk.errors import ConfigError, MilvusError, MilvusUnavailable, Problem
from mbk.frozen import frozen

SECONDS = 10.0
_MAX_ANSWER = 64 << 20


@frozen
class Answer:
    """``place`` is the URL, for errors; ``body`` the text of the answer."""

    status: int
    body: str
    place: str

    def json(self) -> dict[str, Any]:
        """The answer's object; empty for anything else."""
        try:
            answer = json.loads(self.body)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def failure(self, *, retryable: bool = False) -> MilvusError:
        """The error of an unsuccessful answer, in one line."""
        return MilvusError(
            "{url} returned {status}: {reason}",
            code="milvus-http-error",
            url=self.place,
            status=self.status,
            reason=" ".join(self.body.split())[:200],
            server_code=self.status,
            retryable=retryable,
        )


@frozen
class Port:
    """``endpoint``: a URL or ``host:port``; ``setting`` and ``name`` describe it in errors.

    ``optional``: many servers have none, so a refused connection is an answer and no outage.
    ``context``: for https; None trusts the system's authorities. ``server_name``: the certificate's name, if different.
    """

    endpoint: str
    setting: str
    name: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    context: ssl.SSLContext | None = None
    server_name: str = ""
    optional: bool = False

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float = SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`MilvusUnavailable` if the server does not respond, `ConfigError` if ``endpoint`` is not a valid address."""
        # Not urllib: it would use a proxy from the environment, which cannot reach this port.
        url = urlsplit(self.endpoint if "//" in self.endpoint else f"//{self.endpoint}", scheme="http")
        place = f"{self.endpoint.rstrip('/')}{path.partition('?')[0]}"
        sent = None if body is None else json.dumps(body).encode()
        kinds = {"Content-Type": "application/json"} if sent else {}
        connection = self._connection(url, seconds)
        try:
            target = f"{url.path.rstrip('/')}{path}"
            connection.request(method, target, sent, {**kinds, **self.headers, **(headers or {})})
            response = connection.getresponse()
            text = response.read(_MAX_ANSWER).decode("utf-8", errors="replace")
            return Answer(response.status, text, place)
        except ssl.SSLError as exc:
            # A wrong certificate stays wrong, unlike a server that is down.
            raise self._unavailable(exc.reason or str(exc), retryable=False) from exc
        except http.client.RemoteDisconnected as exc:
            raise self._unavailable("the connection was closed") from exc
        except http.client.IncompleteRead as exc:
            raise self._unavailable("the response was cut off") from exc
        except http.client.HTTPException as exc:
            # The response is of another protocol, such as gRPC, and not printable.
            raise self._unavailable("the response is not HTTP", retryable=False) from exc
        except ConnectionRefusedError as exc:
            raise self._unavailable(str(exc), retryable=not self.optional) from exc
        except OSError as exc:
            raise self._unavailable(str(exc) or type(exc).__name__) from exc
        finally:
            connection.close()

    def _connection(self, url: SplitResult, seconds: float) -> http.client.HTTPConnection:
        try:
            if url.scheme == "https":
                return _Secure(url.hostname or "", url.port, seconds, self.context, self.server_name)
            return http.client.HTTPConnection(url.hostname or "", url.port, timeout=seconds)
        except ValueError as exc:
            problem = Problem(self.setting, f"invalid address {self.endpoint}: {exc}")
            raise ConfigError("milvus", [problem]) from exc

    def _unavailable(self, reason: str, *, retryable: bool = True) -> MilvusUnavailable:
        return MilvusUnavailable(
            "{server} at {endpoint} does not respond: {reason}",
            code="milvus-port-unreachable",
            server=self.name,
            endpoint=self.endpoint,
            reason=reason,
            setting=self.setting,
            hint="check {setting}",
            retryable=retryable,
        )


class _Secure(http.client.HTTPSConnection):
    """Checks the certificate against ``server_name``, if given; the library only supports the host's name."""

    def __init__(
        self, host: str, port: int | None, seconds: float, context: ssl.SSLContext | None, server_name: str
    ) -> None:
        self._ssl = context or ssl.create_default_context()
        self._name = server_name or host
        super().__init__(host, port, timeout=seconds, context=self._ssl)

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._ssl.wrap_socket(plain, server_hostname=self._name)
