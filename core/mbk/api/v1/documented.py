"""How the classic API is described: bodies as they are spelled on the wire, and one envelope for all answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_STRING = {"type": "string"}
_ERROR = {
    "application/json": {
        "schema": {"type": "object", "required": ["error"], "properties": {"error": _STRING}}
    }
}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "the request cannot be parsed", "content": _ERROR},
    401: {"description": "authentication is required", "content": _ERROR},
    403: {"description": "cross-origin requests are not allowed", "content": _ERROR},
    413: {"description": "the body is too large", "content": _ERROR},
}
FAILED: dict[int | str, dict[str, Any]] = {500: {"description": "a check failed", "content": _ERROR}}
ENVELOPE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "code is omitted on success; 1 not supported, 2 no permission, 3 failure, 400 parameter, "
        "404 not found",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["requestId", "msg", "data"],
                    "properties": {
                        "requestId": _STRING,
                        "code": {"type": "integer"},
                        "msg": _STRING,
                        "data": {},
                    },
                }
            }
        },
    }
}


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that parses it itself."""
    schema = _inlined(kind.model_json_schema(by_alias=True))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def text(what: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": what, "content": {"text/plain": {"schema": _STRING}}}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Inlines references to ``$defs``, which an OpenAPI document does not have."""
    kinds = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                target = resolved(kinds[node["$ref"].rpartition("/")[2]])
                return {**target, **{key: value for key, value in node.items() if key != "$ref"}}
            return {key: resolved(value) for key, value in node.items()}
        return [resolved(item) for item in node] if isinstance(node, list) else node

    inlined: dict[str, Any] = resolved(schema)
    return inlined
