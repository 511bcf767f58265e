"""The answers besides success that a route of ``/api/v2`` may give, for the description of the API."""

from __future__ import annotations

from typing import Any

from mbk.api.errors import PROBLEM, TITLES
from mbk.api.v2.bodies import Problem


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Of every route, and of this one in particular."""
    return {
        status: {
            "description": TITLES[status],
            "content": {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
        }
        for status in sorted({401, 403, 413, *statuses})
    }
