"""Validates a plugin when it is loaded: everything that can be wrong with one, in one line each."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import pluggy

from mbk.plugin import spec
from mbk.plugin.spec import PROJECT, StorageBackend

WRAPPABLE = frozenset({"mbk_open_storage"})


class Invalid(Exception):
    """What is wrong with a plugin, as one line without its name; never leaves the registry."""


def new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(spec)
    return manager


def check(plugin: object) -> tuple[StorageBackend, ...]:
    """Checks the hooks of a plugin and returns the storages that it offers; raises `Invalid`."""
    if isinstance(plugin, type):
        raise Invalid(f"{plugin.__name__} is a class: register an instance or a module")
    trial = new_manager()
    hooks = vars(trial.hook)
    for name, function in inspect.getmembers(plugin, inspect.isroutine):
        _check_hook(trial, plugin, name, function, hooks)
    try:
        trial.register(plugin)
    except pluggy.PluginValidationError as exc:
        raise Invalid(" ".join(str(exc).splitlines()[1:]) or str(exc)) from exc
    return tuple(_backends(trial))


def _check_hook(
    trial: pluggy.PluginManager, plugin: object, name: str, function: Any, hooks: Iterable[str]
) -> None:
    options = trial.parse_hookimpl_opts(plugin, name)
    if options is None and not name.startswith(f"{PROJECT}_"):
        return
    hook = (options and options.get("specname")) or name
    if hook not in hooks:
        near = get_close_matches(hook, hooks, n=1)
        raise Invalid(f"unknown hook {hook!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    if options is None:
        raise Invalid(f"{name} is not marked with @mbk.hookimpl")
    if (options.get("wrapper") or options.get("hookwrapper")) and hook not in WRAPPABLE:
        raise Invalid(f"{hook} cannot be wrapped")
    declared = getattr(trial.hook, hook).spec.argnames
    surplus = [argument for argument in inspect.signature(function).parameters if argument not in declared]
    if surplus:
        raise Invalid(f"{hook} accepts ({', '.join(declared)}), not {', '.join(map(repr, surplus))}")


def _backends(trial: pluggy.PluginManager) -> Iterable[StorageBackend]:
    for records in trial.hook.mbk_storage_backends():
        if isinstance(records, StorageBackend) or not isinstance(records, Iterable):
            raise Invalid(f"mbk_storage_backends must yield StorageBackend records, not {_kind(records)}")
        for record in records:
            _check_record(record)
            yield record


def _check_record(record: object) -> None:
    if not isinstance(record, StorageBackend):
        raise Invalid(f"mbk_storage_backends must yield StorageBackend records, not {_kind(record)}")
    if not isinstance(record.name, str) or not record.name or record.name != record.name.lower():
        raise Invalid(f"the name of a storage must be a lower-case string, not {record.name!r}")
    for field in ("aliases", "requires"):
        value = getattr(record, field)
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            raise Invalid(f"storage {record.name!r}: {field} must be a tuple of strings, not {value!r}")
    for field in ("settings", "open"):
        if not callable(getattr(record, field)):
            raise Invalid(f"storage {record.name!r}: {field} must be callable")
    for field in ("summary", "extra"):
        if not isinstance(getattr(record, field), str):
            raise Invalid(f"storage {record.name!r}: {field} must be a string")


#: What version 2 of the storage port added to calls that version 1 had, too.
_PARAMETERS_OF_V2 = {
    "list": "start_after",
    "write": "options",
    "write_if_absent": "options",
    "multipart": "options",
    "copy": "options",
}


def check_storage(storage: object) -> None:
    """Raises `Invalid` for an object that is not a storage, or a storage for version 1 of the storage port."""
    from mbk.ports.storage import PORT_VERSION, Storage

    members = {name for role in Storage.__mro__[:-1] for name in vars(role) if not name.startswith("_")}
    missing = sorted(name for name in members if not hasattr(storage, name))
    old = [name for name, added in _PARAMETERS_OF_V2.items() if not _takes(storage, name, added)]
    if old and set(missing) <= {"list_level"}:
        changes = ", ".join([*(f"{name}({_PARAMETERS_OF_V2[name]}=)" for name in old), *missing])
        raise Invalid(
            f"it was written for version 1 of the storage port, this mbk has version {PORT_VERSION}: add "
            f"{changes} (see docs/how-to/write-a-plugin.md), or install the plugin's newer version"
        )
    if missing:
        raise Invalid(f"open() returned an object without {', '.join(missing)}")


def _takes(storage: object, name: str, parameter: str) -> bool:
    try:
        parameters = inspect.signature(getattr(storage, name)).parameters
    except (AttributeError, TypeError, ValueError):
        return True
    anything = any(known.kind is known.VAR_KEYWORD for known in parameters.values())
    return anything or parameter in parameters


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
