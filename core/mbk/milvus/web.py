"""One JSON request to one of Milvus' HTTP ports: REST and management. One attempt each, exact integers, no proxies."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mbk.errors import ConfigError, MilvusError, MilvusUnavailable, Problem

SECONDS = 10.0
_MAX_ANSWER = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """``place`` is the address asked, for errors; ``body`` the answer's text."""

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
        """What an answer that is no success says, in one line."""
        text = " ".join(self.body.split())[:200]
        message = f"{self.place} answers {self.status}: {text}"
        return MilvusError(message, server_code=self.status, retryable=retryable)


@dataclass(frozen=True, slots=True)
class Port:
    """``endpoint``: a URL or ``host:port``; ``setting`` names it in errors, ``name`` says what answers there.

    ``context``: for https; None trusts the system's authorities. ``server_name``: the certificate's name, if another one.
    """

    endpoint: str
    setting: str
    name: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    context: ssl.SSLContext | None = None
    server_name: str = ""

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float = SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`MilvusUnavailable` where nothing answers, `ConfigError` where ``endpoint`` is no address."""
        # Not urllib: a proxy from the environment would answer for a port that only this network knows.
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
            # Unlike a server that is away, certificates that do not fit stay so.
            raise self._unavailable(exc.reason or str(exc), retryable=False) from exc
        except http.client.RemoteDisconnected as exc:
            raise self._unavailable("the connection was closed") from exc
        except http.client.IncompleteRead as exc:
            raise self._unavailable("the answer broke off") from exc
        except http.client.HTTPException as exc:
            # What came is another protocol's, such as gRPC's, and nothing to print.
            raise self._unavailable("what answers there does not speak HTTP", retryable=False) from exc
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
            problem = Problem(self.setting, f"{self.endpoint} is not an address: {exc}")
            raise ConfigError("milvus", [problem]) from exc

    def _unavailable(self, reason: str, *, retryable: bool = True) -> MilvusUnavailable:
        return MilvusUnavailable(
            "{reason} at {endpoint} does not answer ({reason2})",
            code="does-answer",
            reason=self.name,
            endpoint=self.endpoint,
            reason2=reason,
            setting=self.setting,
            hint="set {setting}",
            retryable=retryable,
        )


class _Secure(http.client.HTTPSConnection):
    """Checks the certificate against ``server_name`` where that is given; the library only knows the host's name."""

    def __init__(
        self, host: str, port: int | None, seconds: float, context: ssl.SSLContext | None, server_name: str
    ) -> None:
        self._ssl = context or ssl.create_default_context()
        self._name = server_name or host
        super().__init__(host, port, timeout=seconds, context=self._ssl)

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._ssl.wrap_socket(plain, server_hostname=self._name)
