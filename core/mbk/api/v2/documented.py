"""The error answers of a route of ``/api/v2``, for the API description."""

from __future__ import annotations

from typing import Any

from mbk.api.errors import PROBLEM, TITLES
from mbk.api.v2.bodies import Problem


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Those of every route, and ``statuses`` of this one."""
    return {
        status: {
            "description": TITLES[status],
            "content": {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
        }
        for status in sorted({401, 403, 413, *statuses})
    }
