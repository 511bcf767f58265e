"""What the environment and the shared profiles of the SDK say."""

from __future__ import annotations

import os


def ambient_region(profile: str) -> str | None:
    """The region of the environment, else of the shared profile; the SDK is loaded for the latter only."""
    if region := os.environ.get("AWS_DEFAULT_REGION"):
        return region
    import botocore.session

    found: str | None = botocore.session.Session(profile=profile or None).get_config_variable("region")
    return found
