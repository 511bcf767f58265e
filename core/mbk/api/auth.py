"""Who may use the server: a file of tokens and users, of which only digests are kept.

One line each::

    token NAME sha256:HEX
    user NAME scrypt:LOG2N:R:P:SALT:HEX

A token is 256 bits of chance, so one round of SHA-256 is as good as any: nobody can try them all. A password is not, so
it is stretched by scrypt. Both are in the standard library. Everything is compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mbk.errors import ConfigError, Problem

LOG2N, R, P = 14, 8, 1
_NAME = re.compile(r"[\w.@-]{1,64}")
_TOKEN = re.compile(r"sha256:([0-9a-f]{64})")
_USER = re.compile(r"scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2}):([0-9a-f]{32}):([0-9a-f]{64})")
_KEY = "server.authFile"


@dataclass(frozen=True, slots=True)
class Password:
    log2n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def fits(self, password: str) -> bool:
        return hmac.compare_digest(_stretched(password, self.log2n, self.r, self.p, self.salt), self.digest)


#: Checked where there is no such user, so that the time tells nobody which users there are.
_NOBODY = Password(LOG2N, R, P, bytes(16), bytes(32))


@dataclass(frozen=True, slots=True)
class Credentials:
    """``tokens``: name to digest. Stretching a password is slow by design: one that fitted is remembered by its digest."""

    tokens: Mapping[str, bytes] = field(default_factory=dict)
    users: Mapping[str, Password] = field(default_factory=dict)
    _known: dict[str, bytes] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __bool__(self) -> bool:
        return bool(self.tokens or self.users)

    def admits(self, authorization: str) -> str | None:
        """The name behind an ``Authorization`` header; None where nobody is."""
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(rest.strip())
        if scheme.lower() == "basic" and self.users:
            return self._basic(rest.strip())
        return None

    def _bearer(self, token: str) -> str | None:
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for name, expected in self.tokens.items():  # all of them: the time does not tell which
            if hmac.compare_digest(digest, expected):
                found = name
        return found

    def _basic(self, encoded: str) -> str | None:
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None
        seen = hashlib.sha256(encoded.encode()).digest()
        with self._lock:
            known = self._known.get(name, b"")
        if hmac.compare_digest(seen, known):
            return name
        # One at a time: each costs 16 MiB and some 50 ms, which a flood of guesses must not multiply.
        with _stretching:
            fits = self.users.get(name, _NOBODY).fits(password)
        if not colon or not fits or name not in self.users:
            return None
        with self._lock:
            self._known[name] = seen
        return name


_stretching = threading.Lock()


def read(path: str) -> Credentials:
    """The credentials of a file. `ConfigError` names every line that is wrong, and repeats none."""
    if not path:
        return Credentials()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or "no text").lower()
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
            problems.append(f"line {number}: write: token NAME DIGEST, or: user NAME DIGEST")
        elif kind == "token" and token:
            tokens[name] = bytes.fromhex(token[1])
        elif kind == "user" and user and 10 <= int(user[1]) <= 20:
            users[name] = Password(
                int(user[1]), int(user[2]), int(user[3]), bytes.fromhex(user[4]), bytes.fromhex(user[5])
            )
        else:
            problems.append(f"line {number}: no digest of this kind, `mbk server --new-token NAME` makes one")
    if not problems and not tokens and not users:
        problems.append("holds no token and no user")
    if problems:
        raise ConfigError(path, [Problem(_KEY, problem) for problem in problems])
    return Credentials(tokens, users)


def new_token(name: str) -> tuple[str, str]:
    """A new token, and the line that stands for it in the file."""
    token = secrets.token_urlsafe(32)
    return token, f"token {_checked(name)} sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def user_line(name: str, password: str) -> str:
    """The line of a user with this password."""
    salt = secrets.token_bytes(16)
    digest = _stretched(password, LOG2N, R, P, salt)
    return f"user {_checked(name)} scrypt:{LOG2N}:{R}:{P}:{salt.hex()}:{digest.hex()}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        problem = Problem("", f"the name {name!r} is not allowed", "use letters, digits and _ . - @")
        raise ConfigError("name", [problem])
    return name


def _stretched(password: str, log2n: int, r: int, p: int, salt: bytes) -> bytes:
    n = 1 << log2n
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)
