"""Passwords as a server keeps them: never as text, only as a hash, which BackupRBAC hands out.

Milvus takes bcrypt (``pkg/util/crypto/crypto.go``). The hash here is another, of the same look, so that nothing has to be
installed for it; to clients it is opaque.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from tests.milvus_double.state import User

PREFIX = "$2a$10$"


def hashed(password: str, *, salt: str = "") -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"milvus" + salt.encode(), 100)
    return PREFIX + base64.b64encode(digest).decode().replace("+", ".").rstrip("=")


def new_user(password: str) -> User:
    return User(password=password, encoded=hashed(password))


def matches(user: User, password: str) -> bool:
    """A restored user has only a hash; ``root`` has only its first password."""
    if user.encoded:
        return hmac.compare_digest(user.encoded, hashed(password))
    return user.password == password
