"""The user's values, validated by the storage's own settings class; problems are reported under the user's own keys."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mbk.errors import ConfigError, Problem
from mbk.plugin.settings import StorageSettings
from mbk.plugin.spec import StorageBackend
from mbk.registry.validate import Invalid

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from mbk.config.schema import StorageChoice


def settings_of(backend: StorageBackend, choice: StorageChoice) -> StorageSettings:
    """The storage's settings from a choice; `ConfigError` with all problems, `Invalid` for a wrong settings class."""
    kind = backend.settings()
    if not (isinstance(kind, type) and issubclass(kind, StorageSettings)):
        raise Invalid("its settings class is not a subclass of mbk.plugin.StorageSettings")
    unused = kind.ignored - kind.model_fields.keys()
    values = {name: value for name, value in choice.values.items() if name not in unused}
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        # Only error types and messages are reported: the input may be a secret.
        details = exc.errors(include_url=False, include_context=False, include_input=False)
        problems = [_problem(detail, kind, backend, choice) for detail in details]
    raise ConfigError(f"storage {backend.name!r}", problems)


def _problem(
    detail: ErrorDetails, kind: type[StorageSettings], backend: StorageBackend, choice: StorageChoice
) -> Problem:
    name, *inner = (str(part) for part in detail["loc"]) if detail["loc"] else ("",)
    key = ".".join([choice.keys.get(name, name) or choice.type_key, *inner])
    if detail["type"] == "extra_forbidden" and not inner:
        near = get_close_matches(name, kind.model_fields, n=1)
        suggestion = f"did you mean {near[0]!r}?" if near else "remove it"
        return Problem(key, f"is not a setting of storage type {backend.name!r}", suggestion)
    if detail["type"] == "missing":
        return Problem(key, f"required by storage type {backend.name!r}")
    message = detail["msg"].removeprefix("Value error, ")
    return Problem(key, message[:1].lower() + message[1:])
