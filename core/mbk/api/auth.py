"""Who may use the server: a file of tokens and users, of which only digests are kept.

One line each::

    token NAME sha256:HEX
    user NAME scrypt:LOG2N:R:P:SALT:HEX

A token is 256 random bits, so one round of SHA-256 is enough: brute force is hopeless. A password is weaker, so it is
stretched with scrypt. Both are in the standard library. All comparisons take constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from mbk.errors import ConfigError, Problem
from mbk.frozen import frozen

LOG2N, R, P = 14, 8, 1
_NAME = re.compile(r"[\w.@-]{1,64}")
_TOKEN = re.compile(r"sha256:([0-9a-f]{64})")
_USER = re.compile(r"scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2}):([0-9a-f]{32}):([0-9a-f]{64})")
_KEY = "server.authFile"


@frozen
class Password:
    log2n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def matches(self, password: str) -> bool:
        return hmac.compare_digest(_stretched(password, self.log2n, self.r, self.p, self.salt), self.digest)


#: Checked for unknown users, so that the response time does not reveal which users exist.
_NOBODY = Password(LOG2N, R, P, bytes(16), bytes(32))


@frozen
class Credentials:
    """``tokens``: name to digest. Stretching a password is slow by design, so the digest of one that matched is cached."""

    tokens: Mapping[str, bytes] = field(default_factory=dict)
    users: Mapping[str, Password] = field(default_factory=dict)
    _verified: dict[str, bytes] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __bool__(self) -> bool:
        return bool(self.tokens or self.users)

    def admits(self, authorization: str) -> str | None:
        """The name behind an ``Authorization`` header; None if unauthenticated. Several threads may call it.

        A token counts as a password, too, of whatever user: that is how a browser can send one.
        """
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(rest.strip())
        if scheme.lower() == "basic":
            return self._basic(rest.strip())
        return None

    def _bearer(self, token: str) -> str | None:
        digest = hashlib.sha256(token.encode()).digest()
        owner = None
        for name, expected in self.tokens.items():  # all of them: the time must not reveal which one matched
            if hmac.compare_digest(digest, expected):
                owner = name
        return owner

    def _basic(self, encoded: str) -> str | None:
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None
        if (owner := self._bearer(password)) is not None or not self.users:
            return owner
        seen = hashlib.sha256(encoded.encode()).digest()
        with self._lock:
            verified = self._verified.get(name, b"")
        if hmac.compare_digest(seen, verified):
            return name
        # One at a time: each takes 16 MiB and about 50 ms, which a flood of guesses must not multiply.
        with _stretching:
            matches = self.users.get(name, _NOBODY).matches(password)
        if not colon or not matches or name not in self.users:
            return None
        with self._lock:
            self._verified[name] = seen
        return name


_stretching = threading.Lock()


def read(path: str) -> Credentials:
    """Reads the credentials from a file. `ConfigError` names every wrong line, but repeats none of them."""
    if not path:
        return Credentials()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or "not a text file").lower()
        raise ConfigError("configuration", [Problem(_KEY, f"cannot read {path}: {reason}")]) from exc
    tokens: dict[str, bytes] = {}
    users: dict[str, Password] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        kind, name, secret, *more = [*line.split(), "", "", ""]
        if not kind or kind.startswith("#"):
            continue
        token, user = _TOKEN.fullmatch(secret), _USER.fullmatch(secret)
        if not _NAME.fullmatch(name) or any(more):
            problems.append(f"line {number}: expected 'token NAME DIGEST' or 'user NAME DIGEST'")
        elif kind == "token" and token:
            tokens[name] = bytes.fromhex(token[1])
        elif kind == "user" and user and 10 <= int(user[1]) <= 20:
            users[name] = Password(
                int(user[1]), int(user[2]), int(user[3]), bytes.fromhex(user[4]), bytes.fromhex(user[5])
            )
        else:
            problems.append(
                f"line {number}: invalid digest; create the line with `mbk server --new-token NAME` or `--new-user NAME`"
            )
    if not problems and not tokens and not users:
        problems.append("contains no token and no user")
    if problems:
        raise ConfigError(path, [Problem(_KEY, problem) for problem in problems])
    return Credentials(tokens, users)


def new_token(name: str) -> tuple[str, str]:
    """A new token, and its line for the file."""
    token = secrets.token_urlsafe(32)
    return token, f"token {_checked(name)} sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def user_line(name: str, password: str) -> str:
    """The line for a user with this password."""
    salt = secrets.token_bytes(16)
    digest = _stretched(password, LOG2N, R, P, salt)
    return f"user {_checked(name)} scrypt:{LOG2N}:{R}:{P}:{salt.hex()}:{digest.hex()}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        problem = Problem("", f"{name!r} is not a valid name", "use 1 to 64 letters, digits and _ . - @")
        raise ConfigError("name", [problem])
    return name


def _stretched(password: str, log2n: int, r: int, p: int, salt: bytes) -> bytes:
    n = 1 << log2n
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)
