"""For SDKs that do not find keys themselves: those of the environment, and those of a role, fetched anew in time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Generic, TypeVar

from mbk.errors import AuthenticationFailed

Keys = TypeVar("Keys")

#: Temporary credentials are replaced this many seconds before they expire, so that no request outlives its own.
MARGIN = 300
#: Seconds after a renewal that failed until the next, if the older keys still hold: meanwhile all requests wait for it.
PAUSE = 30


class Role(Generic[Keys]):
    """Keys of a role, fetched when they are first needed. Thread-safe.

    ``fetch`` asks the service and returns the keys, and when they expire (seconds since 1970). What it raises because
    the service cannot be reached or answers something else is `AuthenticationFailed`, unless older keys still hold; other
    errors pass, with the same exception.
    ``name`` is the vendor's word for its roles, ``RAM role``.
    """

    def __init__(self, fetch: Callable[[], tuple[Keys, float]], *, name: str) -> None:
        self._fetch = fetch
        self._name = name
        self._lock = Lock()
        self._held: tuple[Keys, float] | None = None
        self._again = 0.0

    def keys(self) -> Keys:
        """Valid for some minutes."""
        with self._lock:
            now = time.time()
            if self._held is None or now >= min(self._held[1], max(self._held[1] - MARGIN, self._again)):
                self._held = self._renewed()
            return self._held[0]

    def _renewed(self) -> tuple[Keys, float]:
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


def keys_of_environment(variables: Iterable[tuple[str, str, str]]) -> tuple[str, str, str] | None:
    """Id, secret and token (empty for none) by the first of the triples of variables whose id and secret are set."""
    for names in variables:
        key, secret, token = (os.environ.get(name, "") for name in names)
        if key and secret:
            return key, secret, token
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
