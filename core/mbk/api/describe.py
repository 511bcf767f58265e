"""``/openapi.json``: what FastAPI generates, corrected to what this server does."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mbk.api.errors import PROBLEM
from mbk.api.v2.bodies import Problem


def describe(app: FastAPI, *, has_credentials: bool) -> None:
    """Replaces ``app.openapi``. Errors are problems (v2) or 400 (v1), never FastAPI's own 422."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                    servers=app.servers,
                )
            )
            _correct(made)
            if has_credentials:
                _secure(made)
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents


def _correct(schema: dict[str, Any]) -> None:
    kinds = schema.setdefault("components", {}).setdefault("schemas", {})
    kinds["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for name in ("HTTPValidationError", "ValidationError"):
        kinds.pop(name, None)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            invalid = operation["responses"].get("422", {})
            if PROBLEM not in invalid.get("content", {}):
                operation["responses"].pop("422", None)
            if path.startswith("/api/v1/"):
                operation["responses"].pop("422", None)


def _secure(schema: dict[str, Any]) -> None:
    schemes = {"token": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"}}
    schema["components"]["securitySchemes"] = schemes
    schema["security"] = [{name: []} for name in schemes]
    for path in ("/healthz", "/readyz"):
        for operation in schema["paths"][path].values():
            operation["security"] = []
