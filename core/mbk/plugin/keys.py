"""Which keys a bucket takes, and how a refused one is told."""

from __future__ import annotations

from mbk.errors import InvalidKey


def fault_of_length(key: str, max_bytes: int) -> str:
    """Why a key has no length that can be stored, empty where it has. ``max_bytes`` counts UTF-8."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "it is not Unicode text"
    if not 0 < length <= max_bytes:
        return f"it has {length} bytes, allowed are 1 to {max_bytes}"
    return ""


def fault_of_path(key: str, max_bytes: int) -> str:
    """As `fault_of_length`, for services whose keys must be plain paths: no URL may change them on the way."""
    if why := fault_of_length(key, max_bytes):
        return why
    if key[0] in "/\\":
        return "it begins with a slash or a backslash"
    if any(letter < " " or letter == "\x7f" for letter in key):
        return "it has control characters"
    if not {".", ".."}.isdisjoint(key.split("/")):
        return "it has an element . or .."
    return ""


def require_key(key: str, place: object, why: str) -> None:
    """Raises `InvalidKey` with the reason, unless that is empty."""
    if why:
        raise InvalidKey(f"{key[:80]!r} cannot be a key in {place}: {why}")
