"""What a plugin's author imports: the hook marker, the backend record, the settings base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbk.plugin.spec import StorageBackend, hookimpl, hookspec

if TYPE_CHECKING:
    from mbk.plugin.settings import Secret, StorageSettings

__all__ = ["Secret", "StorageBackend", "StorageSettings", "hookimpl", "hookspec"]


def __getattr__(name: str) -> Any:
    """`StorageSettings` and `Secret` bring pydantic along; naming a plugin does not need it."""
    if name in ("StorageSettings", "Secret"):
        from mbk.plugin import settings

        return getattr(settings, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
