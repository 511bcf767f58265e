"""Names of files that are no objects: no key leads to them, and no listing shows them."""

from __future__ import annotations

import re
from secrets import token_hex

#: In a directory whose files are not durable yet, see `mbk_local.deferral`.
MARKER = ".mbk-unsettled"
#: What all of them begin with.
OURS = ".mbk-"
_TEMPORARY = re.compile(r"\.mbk-[0-9a-f]{32}\.tmp")


def temporary_name() -> str:
    return f".mbk-{token_hex(16)}.tmp"


def is_plain(name: str) -> bool:
    """Whether it is surely no name of ours, and surely text, as nearly all names are."""
    return name[0] != "." and name.isascii()


def is_temporary(name: str) -> bool:
    return _TEMPORARY.fullmatch(name) is not None


def is_reserved(name: str) -> bool:
    return name.startswith(OURS) and (name == MARKER or is_temporary(name))
