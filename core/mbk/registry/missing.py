"""A missing SDK, told as the `pip install` that brings it, wherever the import failed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from mbk.errors import BrokenPlugin, MissingDependency
from mbk.plugin.spec import StorageBackend
from mbk.registry.discovery import packages_of


def is_present(module: str) -> bool:
    """Whether a module could be imported. Imports at most the packages above it, never the module."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def belongs_to(module: str, packages: Iterable[str]) -> bool:
    """Whether a module is one of these packages, below one, or a package above one."""
    return any(
        f"{module}.".startswith(f"{name}.") or f"{name}.".startswith(f"{module}.") for name in packages
    )


def missing_dependency(storage: str, extra: str, requires: Iterable[str]) -> MissingDependency:
    """`storage 'gcp' needs google-cloud-storage: pip install 'mbk[gcp]'`."""
    packages = packages_of(extra) or tuple(module.replace(".", "-") for module in requires)
    target = f"'{extra}'" if extra else " ".join(packages)
    return MissingDependency(
        "storage {storage!r} needs {names}",
        code="storage-needs",
        storage=storage,
        names=", ".join(packages),
        target=target,
        hint="pip install {target}",
    )


def import_failure(
    backend: StorageBackend, origin: str, exc: ImportError
) -> MissingDependency | BrokenPlugin:
    """What an `ImportError` of a storage's own code means: its SDK is missing, or the plugin is wrong."""
    if exc.name and belongs_to(exc.name, backend.requires):
        return missing_dependency(backend.name, backend.extra, backend.requires)
    return BrokenPlugin(
        "plugin {backend!r} ({origin}) is broken: {name}: {reason}",
        code="plugin-broken",
        backend=backend.name,
        origin=origin,
        name=type(exc).__name__,
        reason=exc,
    )
