"""Where keys come from when none are set: the environment, and a role, whose keys are fetched anew in time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import field
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from mbk.errors import AuthenticationFailed
from mbk.frozen import frozen
from mbk.plugin.http import Origin, SendingFailed, Timeouts, sender_to

Held = TypeVar("Held")

#: Longer than a metadata service or a token service takes to answer.
_PATIENCE = Timeouts(connect=10.0, read=10.0)

#: Temporary credentials are replaced this many seconds before they expire, so that no request outlives its own.
MARGIN = 300
#: Seconds after a renewal that failed until the next, if the older keys still hold: meanwhile all requests wait for it.
PAUSE = 30


@frozen
class Keys:
    """What requests are signed with; ``token`` is empty but for temporary keys."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


class Role(Generic[Held]):
    """Keys of a role, fetched when they are first needed. Thread-safe.

    ``fetch`` asks the service and returns the keys, and when they expire (seconds since 1970). What it raises because
    the service cannot be reached or answers something else is `AuthenticationFailed`, unless older keys still hold; other
    errors pass, with the same exception.
    ``name`` is the vendor's word for its roles, ``RAM role``.
    """

    def __init__(self, fetch: Callable[[], tuple[Held, float]], *, name: str) -> None:
        self._fetch = fetch
        self._name = name
        self._lock = Lock()
        self._held: tuple[Held, float] | None = None
        self._again = 0.0

    def keys(self) -> Held:
        """Valid for some minutes."""
        with self._lock:
            now = time.time()
            if self._held is None or now >= min(self._held[1], max(self._held[1] - MARGIN, self._again)):
                self._held = self._renewed()
            return self._held[0]

    def _renewed(self) -> tuple[Held, float]:
        try:
            return self._fetch()
        except Exception as exc:
            if self._held and self._held[1] > time.time():
                self._again = time.time() + PAUSE
                return self._held
            if not isinstance(exc, (OSError, ValueError, KeyError, TypeError)):
                raise
            raise AuthenticationFailed(
                "could not get the credentials of a {role} ({reason})",
                code="role-credentials-missing",
                role=self._name,
                reason=type(exc).__name__,
                hint="attach a {role}, or set accessKeyID and secretAccessKey instead of useIAM",
            ) from exc


class NoKeys(SendingFailed):
    """A metadata service or a token service answered, and gave no keys."""


def fetched(method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> str:
    """The text of an answer of success of a metadata service or a token service. Raises `SendingFailed`."""
    parts = urlsplit(url)
    origin = Origin(host=parts.hostname or "", port=parts.port, tls=parts.scheme == "https")
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    with closing(sender_to(origin, timeouts=_PATIENCE)) as sender:
        answer = sender.send(method, target, {"Accept": "*/*", **(headers or {})}, body, repeatable=True)
    if answer.status != 200:
        raise NoKeys(f"the service of the role answered with status {answer.status}")
    return answer.content.decode()


def fetched_document(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Mapping[str, Any]:
    """As `fetched`, of JSON."""
    document: Mapping[str, Any] = json.loads(fetched(method, url, headers, body))
    return document


class Keyed(Protocol):
    """Settings that may hold keys: id, secret and token ("" for none), or want those of the machine's role."""

    @property
    def static_keys(self) -> tuple[str, str, str] | None: ...
    @property
    def use_iam(self) -> bool: ...
    @property
    def bucket(self) -> str: ...
    @property
    def endpoint(self) -> str: ...


def source_of(
    settings: Keyed,
    variables: Sequence[tuple[str, str, str]],
    *,
    by_token: Callable[[], tuple[Keys, float]] | None,
    by_machine: Callable[[], tuple[Keys, float]],
    role: str,
) -> Callable[[], Keys]:
    """What gives a storage's keys, each time before they are used: those of the settings, else of the environment's
    ``variables``, else of a role. Asks nobody: its first call does.

    ``by_token`` exchanges the token of a pod, None where the environment names none; ``by_machine`` asks the metadata
    service. Both as `Role` has them, and ``role`` is its name. `AuthenticationFailed` where there is nothing.
    """
    if given := settings.static_keys:
        lasting: Keys | None = Keys(*given)
    else:
        lasting = None if settings.use_iam else keys_of_environment(variables)
    if lasting is not None:
        keys = lasting
        return lambda: keys
    if by_token is None and not settings.use_iam:
        raise no_keys(settings.bucket, settings.endpoint, variables[0])
    return Role(by_token or by_machine, name=role).keys


def keys_of_environment(variables: Iterable[tuple[str, str, str]]) -> Keys | None:
    """By the first of the triples of variables whose id and secret are set."""
    for names in variables:
        key, secret, token = (os.environ.get(name, "") for name in names)
        if key and secret:
            return Keys(key, secret, token)
    return None


def no_keys(bucket: str, endpoint: str, variables: tuple[str, str, str]) -> AuthenticationFailed:
    """Neither keys nor a role nor the environment's ``variables``."""
    return AuthenticationFailed(
        "no credentials for bucket {bucket!r} at {endpoint}",
        code="credentials-missing",
        bucket=bucket,
        endpoint=endpoint,
        variables=" and ".join(variables[:2]),
        hint="set accessKeyID and secretAccessKey, or useIAM, or {variables}",
    )
