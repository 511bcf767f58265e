"""What the environment and the shared profiles of the SDK say."""

from __future__ import annotations

import botocore.session  # noqa: TID253  loaded only with an opened storage


def ambient_region(profile: str) -> str | None:
    """The region of the environment or of the shared profile."""
    region: str | None = botocore.session.Session(profile=profile or None).get_config_variable("region")
    return region
