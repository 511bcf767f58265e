"""What the environment and the shared profiles of the SDK say."""

from __future__ import annotations

import os
from contextlib import suppress


def ambient_region(profile: str) -> str | None:
    """The region of the environment, else of the shared profile; the SDK is loaded for the latter only.

    None where the shared files cannot be read: whoever has keys of their own needs nothing else of them, and whoever has
    not is told when the credentials are looked for.
    """
    if region := os.environ.get("AWS_DEFAULT_REGION"):
        return region
    import botocore.session
    from botocore.exceptions import BotoCoreError

    found: str | None = None
    with suppress(BotoCoreError):
        found = botocore.session.Session(profile=profile or None).get_config_variable("region")
    return found
