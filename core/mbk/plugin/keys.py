"""Which keys a bucket takes, and how a refused one is told."""

from __future__ import annotations

from mbk.errors import InvalidKey
from mbk.plugin.failures import facts_of


def fault_of_length(key: str, max_bytes: int) -> str:
    """Why a key has no length that can be stored, empty where it has. ``max_bytes`` counts UTF-8."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "it is not Unicode text"
    if not 0 < length <= max_bytes:
        return f"it is {length} bytes long, and must be 1 to {max_bytes}"
    return ""


def fault_of_path(key: str, max_bytes: int) -> str:
    """As `fault_of_length`, for services whose keys must be plain paths: no URL may change them on the way."""
    if why := fault_of_length(key, max_bytes):
        return why
    if key[0] in "/\\":
        return "it starts with a slash or a backslash"
    if any(letter < " " or letter == "\x7f" for letter in key):
        return "it contains control characters"
    if not {".", ".."}.isdisjoint(key.split("/")):
        return "it contains an element . or .."
    return ""


def require_key(key: str, place: object, why: str) -> None:
    """Raises `InvalidKey` with the reason, unless that is empty."""
    if why:
        raise InvalidKey(
            "{key!r} is not a valid key in {place}: {reason}",
            code="key-invalid",
            key=key[:80],
            reason=why,
            **facts_of(place),
        )
