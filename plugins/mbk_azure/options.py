"""`WriteOptions` in the parameters of the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure.storage.blob import (  # noqa: TID253  loaded only with an opened storage
    ImmutabilityPolicy,
    StandardBlobTier,
)

from mbk.errors import Unsupported
from mbk.plugin.wire import WireError
from mbk.ports.storage import WriteOptions

_MODES = {"governance": "Unlocked", "compliance": "Locked"}


def written_with(options: WriteOptions) -> dict[str, Any]:
    """For an object in one request, a list of blocks and a copy. An ``encryption_key`` is the name of an encryption scope."""
    asked = encrypted_with(options)
    if options.storage_class:
        asked["standard_blob_tier"] = _tier(options.storage_class)
    if options.tags:
        asked["tags"] = {**options.tags}
    if options.retention:
        asked["immutability_policy"] = ImmutabilityPolicy(
            expiry_time=options.retention.until, policy_mode=_MODES[options.retention.mode]
        )
    return asked


def encrypted_with(options: WriteOptions) -> dict[str, Any]:
    """For a block: all blocks of an object are encrypted alike."""
    return {"encryption_scope": options.encryption_key} if options.encryption_key else {}


def require_encrypted(answer: Mapping[str, Any], options: WriteOptions) -> None:
    """The service names the scope that it encrypts with; an emulator ignores what was asked."""
    if options.encryption_key and answer.get("encryption_scope") != options.encryption_key:
        raise WireError(
            Unsupported,
            "the service ignored encryption scope {scope!r} and wrote without it",
            code="encryption-scope-ignored",
            scope=options.encryption_key,
        )


def _tier(name: str) -> StandardBlobTier:
    try:
        return StandardBlobTier(name)
    except ValueError:
        raise WireError(
            Unsupported,
            "{tier!r} is not an access tier",
            code="tier-unknown",
            hint="use one of {tiers}",
            tier=name,
            tiers=", ".join(tier.value for tier in StandardBlobTier),
        ) from None
