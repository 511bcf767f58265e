"""Errors for a missing SDK, with the command that installs it, and for broken plugins."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from importlib.util import find_spec

from mbk import extras
from mbk.errors import BrokenPlugin, MissingDependency
from mbk.plugin.spec import StorageBackend


def is_present(module: str) -> bool:
    """Whether a module can be imported. Imports at most its parent packages, never the module."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def belongs_to(module: str, packages: Iterable[str]) -> bool:
    """Whether a module is one of these packages, inside one, or a parent package of one."""
    return any(
        f"{module}.".startswith(f"{name}.") or f"{name}.".startswith(f"{module}.") for name in packages
    )


def missing_dependency(storage: str, extra: str, requires: Iterable[str]) -> MissingDependency:
    """`storage 'gcp' requires google-auth: pip install 'google-auth>=2.40'`."""
    packages = extras.names(extra) or tuple(module.replace(".", "-") for module in requires)
    return MissingDependency(
        "storage {storage!r} requires {packages}",
        code="storage-sdk-missing",
        storage=storage,
        packages=", ".join(packages),
        requirement=extras.arguments(extra) if extra else shlex.join(packages),
        hint="pip install {requirement}",
    )


def import_failure(
    backend: StorageBackend, origin: str, exc: ImportError
) -> MissingDependency | BrokenPlugin:
    """The meaning of an `ImportError` in a storage's own code: its SDK is missing, or the plugin is broken."""
    if exc.name and belongs_to(exc.name, backend.requires):
        return missing_dependency(backend.name, backend.extra, backend.requires)
    return broken_plugin(backend.name, origin, f"{type(exc).__name__}: {exc}")


def broken_plugin(name: str, origin: str, reason: str) -> BrokenPlugin:
    return BrokenPlugin(
        "plugin {name!r} ({origin}) is broken: {reason}",
        code="plugin-broken",
        name=name,
        origin=origin,
        reason=reason,
    )
