"""`WriteOptions` in the headers of the Blob service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import format_datetime
from urllib.parse import urlencode

from mbk.errors import Unsupported
from mbk.plugin.headers import moment
from mbk.plugin.wire import Terms, WireError
from mbk.ports.storage import Retention, WriteOptions

#: Access tiers of block blobs: https://learn.microsoft.com/azure/storage/blobs/access-tiers-overview
TIERS = ("Hot", "Cool", "Cold", "Archive")
_MODES = {"governance": "Unlocked", "compliance": "Locked"}
_UNTIL, _MODE = "x-ms-immutability-policy-until-date", "x-ms-immutability-policy-mode"


def written_on(terms: Terms) -> dict[str, str]:
    """As `written_with`, and under the condition."""
    condition = {"If-None-Match": "*"} if terms.if_absent else {}
    return {**condition, **written_with(terms.options)}


def written_with(options: WriteOptions) -> dict[str, str]:
    """For an object in one request, a list of blocks and a copy. An ``encryption_key`` is the name of an encryption scope."""
    asked = encrypted_with(options)
    if options.storage_class:
        asked["x-ms-access-tier"] = _tier(options.storage_class)
    if options.tags:
        asked["x-ms-tags"] = urlencode(options.tags)
    return asked | (locked_with(options.retention) if options.retention else {})


def locked_with(retention: Retention) -> dict[str, str]:
    until = format_datetime(retention.until.astimezone(UTC), usegmt=True)
    return {_UNTIL: until, _MODE: _MODES[retention.mode]}


def lock_of(headers: Mapping[str, str]) -> Retention | None:
    """Of the answer to a HEAD; None where the object has no policy of its own."""
    until, mode = moment(headers.get(_UNTIL)), headers.get(_MODE, "")
    if until is None or not mode:
        return None
    return Retention(mode="compliance" if mode.lower() == "locked" else "governance", until=until)


def encrypted_with(options: WriteOptions) -> dict[str, str]:
    """For a block: all blocks of an object are encrypted alike."""
    return {"x-ms-encryption-scope": options.encryption_key} if options.encryption_key else {}


def require_encrypted(headers: Mapping[str, str], options: WriteOptions) -> None:
    """The service names the scope that it encrypts with; an emulator ignores what was asked."""
    if options.encryption_key and headers.get("x-ms-encryption-scope") != options.encryption_key:
        raise WireError(
            Unsupported,
            "the service ignored encryption scope {scope!r} and wrote without it",
            code="encryption-scope-ignored",
            scope=options.encryption_key,
        )


def _tier(name: str) -> str:
    if name in TIERS:
        return name
    raise WireError(
        Unsupported,
        "{tier!r} is not an access tier",
        code="tier-unknown",
        hint="use one of {tiers}",
        tier=name,
        tiers=", ".join(TIERS),
    )
