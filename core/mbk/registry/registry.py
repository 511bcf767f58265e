"""The typed interface of the plugin system: finds, loads, checks and calls plugins. Only this room uses pluggy.

A storage plugin is imported when one of its names is selected, and only then; a plugin of the group ``mbk.plugin``
when a run starts. A broken plugin is an error only for those who select it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, cast

from mbk.errors import BrokenPlugin, MbkError, UnknownStorage
from mbk.frozen import frozen
from mbk.plugin.spec import PLUGIN_GROUP, STORAGE_GROUP, StorageBackend, hookimpl
from mbk.registry import discovery
from mbk.registry.discovery import Entry
from mbk.registry.missing import belongs_to, broken_plugin, import_failure, is_present, missing_dependency
from mbk.registry.validate import Invalid, check, check_storage, new_manager

if TYPE_CHECKING:
    from mbk.config.schema import StorageChoice
    from mbk.model.events import Event
    from mbk.plugin.settings import StorageSettings
    from mbk.ports.storage import Storage

log = logging.getLogger(__name__)


@frozen
class PluginInfo:
    """One line of ``mbk plugins``. ``kind`` is ``storage``, or ``plugin`` for one that observes or wraps.

    ``ready``: it can be used now. If not, ``install`` is the command that installs what is missing, or ``problem``
    says in one line what is wrong; the other is ``""``. ``aliases`` are those that can be selected.
    """

    name: str
    aliases: tuple[str, ...]
    distribution: str
    version: str
    summary: str
    ready: bool
    install: str = ""
    problem: str = ""
    kind: str = "storage"


@frozen
class _Offer:
    """A storage, with the name of its plugin for messages."""

    backend: StorageBackend
    origin: str


class _Core:
    """mbk's own plugin, called last to open a storage."""

    @hookimpl(trylast=True)
    def mbk_open_storage(self, backend: StorageBackend, settings: StorageSettings) -> Storage:
        return backend.open(settings)


class Registry:
    """The installed plugins, and those that a program registers itself.

    ``disabled`` holds entry-point or distribution names that are treated as not installed; by default those of the
    environment variable ``MBK_DISABLE_PLUGINS``. Several threads may call it.
    """

    def __init__(self, *, disabled: Iterable[str] | None = None) -> None:
        names = discovery.disabled_by_environment() if disabled is None else disabled
        self._disabled = frozenset(name.lower() for name in names)
        self._manager = new_manager()
        self._manager.register(_Core(), "mbk")
        self._registered: dict[str, _Offer] = {}
        self._loaded: dict[str, tuple[StorageBackend, ...]] = {}
        self._complained: set[str] = set()
        self._started = False
        self._lock = threading.RLock()

    def names(self) -> tuple[str, ...]:
        """All storage types and aliases that can be selected. Imports no plugin."""
        return tuple(sorted({*self._registered, *self._entries}))

    def is_installed(self, storage_type: str) -> bool:
        """Whether other processes find this type, too: it was not registered by the program."""
        return storage_type.strip().lower() not in self._registered

    def backend(self, storage_type: str, *, key: str = "storageType") -> StorageBackend:
        """The storage of this type, in any case; imports only its plugin.

        Raises `UnknownStorage`, `BrokenPlugin` or `MissingDependency`. ``key`` is the key that the user set.
        """
        return self._offer(storage_type, key).backend

    def answers(self, storage_type: str, scheme: str) -> bool:
        """Whether a URL with this scheme may name a bucket of this type; not if its plugin cannot be used."""
        try:
            return self.backend(storage_type).answers(scheme)
        except MbkError:
            return False

    def for_scheme(self, scheme: str) -> StorageBackend:
        """The storage that a URL names where nothing is configured. Imports every plugin, but no SDK.

        Raises `UnknownStorage`, and what is wrong with the plugin of that name.
        """
        if scheme in self.names():
            self.backend(scheme, key=f"{scheme}://")
        backends = dict.fromkeys(self.backend(name) for name in self.names() if self.answers(name, scheme))
        known = sorted(backends, key=lambda item: (not item.ambient, not item.is_called(scheme)))
        if not known:
            raise self._unknown_scheme(scheme)
        return known[0]

    def _unknown_scheme(self, scheme: str) -> UnknownStorage:
        usable = [self.backend(name) for name in self.names() if self.answers(name, name)]
        schemes = sorted({spelling for item in usable for spelling in item.schemes or (item.name,)})
        return UnknownStorage(
            "no storage answers to {scheme}://",
            code="scheme-unknown",
            scheme=scheme,
            schemes=", ".join(schemes),
            hint="a URL begins with one of {schemes}, followed by ://",
        )

    def open(self, choice: StorageChoice) -> Storage:
        """Checks the chosen values with the storage's own settings and opens it; sends no request.

        Raises what `backend` raises, and `ConfigError` with all problems, under the user's own keys.
        """
        from mbk.registry.values import settings_of

        self.start()
        offer = self._offer(choice.type, choice.type_key)
        backend = offer.backend
        try:
            settings = settings_of(backend, choice)
            storage = self._manager.hook.mbk_open_storage(backend=backend, settings=settings)
            check_storage(storage)
        except ImportError as exc:
            raise import_failure(backend, offer.origin, exc) from exc
        except Invalid as exc:
            raise broken_plugin(backend.name, offer.origin, str(exc)) from exc
        return cast("Storage", storage)

    def start(self) -> None:
        """Loads the plugins that observe or wrap, once. A broken one is a warning that names it."""
        with self._lock:
            if self._started:
                return
            self._started = True
            for entry in self._observers:
                try:
                    self._load(entry)
                except MbkError as exc:
                    log.warning("%s; continuing without it", exc)

    def emit(self, event: Event) -> None:
        """Calls every observer, one event at a time. An observer's exception is logged once and not raised."""
        self.start()
        with self._lock:
            # pluggy would stop at the first exception, so we call the observers one by one.
            for observer in self._manager.hook.mbk_event.get_hookimpls():
                try:
                    observer.function(*(event for _ in observer.argnames))
                except Exception as exc:  # noqa: BLE001  foreign code may raise anything; the run continues
                    self._complain(observer.plugin_name, exc)

    def register(self, plugin: object, name: str) -> None:
        """Adds a plugin of the running program; its storages take precedence over installed ones. Raises `BrokenPlugin`."""
        backends = self._adopt(plugin, name, origin="registered by the program")
        for backend in backends:
            offer = _Offer(backend, f"plugin {name!r}")
            self._registered.update(
                {spelling.lower(): offer for spelling in (backend.name, *backend.aliases)}
            )

    def describe(self) -> list[PluginInfo]:
        """Every plugin, sorted by name; imports the plugins but no SDK; a broken one is listed with its problem."""
        infos = [_info(offer.backend, self._registered) for offer in dict.fromkeys(self._registered.values())]
        by_module: dict[str, list[Entry]] = {}
        for entries in self._entries.values():
            for entry in entries:
                by_module.setdefault(entry.point.value, []).append(entry)
        for entries in by_module.values():
            infos += self._describe_storage(entries)
        infos += [self._describe_observer(entry) for entry in self._observers]
        return sorted(infos, key=lambda info: (info.kind != "storage", info.name, info.distribution))

    @cached_property
    def _entries(self) -> dict[str, list[Entry]]:
        entries: dict[str, list[Entry]] = {}
        for entry in self._enabled(STORAGE_GROUP):
            same = entries.setdefault(entry.name, [])
            if all(entry.point.value != other.point.value for other in same):
                same.append(entry)
        return entries

    @cached_property
    def _observers(self) -> tuple[Entry, ...]:
        return self._enabled(PLUGIN_GROUP)

    def _enabled(self, group: str) -> tuple[Entry, ...]:
        entries = discovery.installed(group)
        return tuple(entry for entry in entries if not discovery.is_disabled(entry, self._disabled))

    def _offer(self, storage_type: str, key: str) -> _Offer:
        name = storage_type.strip().lower()
        if name in self._registered:
            return self._registered[name]
        entries = self._entries.get(name)
        if not entries:
            raise self._unknown(storage_type, key)
        if len(entries) > 1:
            origins = " and ".join(entry.origin for entry in entries)
            raise BrokenPlugin(
                "{key}: storage type {type!r} is provided by several plugins: {origins}",
                code="storage-type-ambiguous",
                key=key,
                type=name,
                origins=origins,
                variable=discovery.DISABLE_VARIABLE,
                hint="uninstall all but one, or add its distribution to {variable}",
            )
        for backend in self._load(entries[0]):
            if name in _spellings(backend):
                return _Offer(backend, entries[0].origin)
        raise broken_plugin(
            name, entries[0].origin, f"module {entries[0].module} does not provide this storage"
        )

    def _unknown(self, storage_type: str, key: str) -> UnknownStorage:
        names = self.names()
        near = get_close_matches(storage_type.strip().lower(), names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        if storage_type.strip().lower() in self._disabled:
            hint = f"it is disabled by {discovery.DISABLE_VARIABLE}. "
        return UnknownStorage(
            "{key}: unknown storage type {type!r}",
            code="storage-type-unknown",
            key=key,
            type=storage_type,
            suggestion=hint,
            installed=", ".join(names) or "none",
            hint="{suggestion}installed: {installed}",
        )

    def _load(self, entry: Entry) -> tuple[StorageBackend, ...]:
        with self._lock:
            if entry.point.value not in self._loaded:
                plugin = _import(entry)
                backends = self._adopt(plugin, entry.name, origin=entry.origin)
                self._loaded[entry.point.value] = tuple(_with_extra(backend, entry) for backend in backends)
            return self._loaded[entry.point.value]

    def _adopt(self, plugin: object, name: str, *, origin: str) -> tuple[StorageBackend, ...]:
        try:
            backends = check(plugin)
        except Invalid as exc:
            raise broken_plugin(name, origin, str(exc)) from exc
        except Exception as exc:  # raised by the plugin's own code, so it is broken
            raise broken_plugin(name, origin, _reason(exc)) from exc
        if not self._manager.is_registered(plugin):
            try:
                self._manager.register(plugin, name)
            except ValueError as exc:
                raise broken_plugin(name, origin, "another plugin is registered under this name") from exc
        return backends

    def _complain(self, name: str, exc: Exception) -> None:
        if name not in self._complained:
            self._complained.add(name)
            log.error(
                "plugin %r failed on an event: %s; its further failures are not logged", name, _reason(exc)
            )

    def _describe_storage(self, entries: list[Entry]) -> list[PluginInfo]:
        names = {entry.name for entry in entries}
        first = entries[0]
        try:
            backends = self._load(first)
        except MbkError as exc:
            return [_failed(min(names), tuple(sorted(names - {min(names)})), first, exc)]
        infos = [_info(backend, names, first) for backend in backends if names & _spellings(backend)]
        for name in sorted(names.difference(*(_spellings(backend) for backend in backends))):
            error = broken_plugin(name, first.origin, f"module {first.module} does not provide this storage")
            infos.append(_failed(name, (), first, error))
        return infos

    def _describe_observer(self, entry: Entry) -> PluginInfo:
        try:
            self._load(entry)
        except MbkError as exc:
            return _failed(entry.name, (), entry, exc, kind="plugin")
        summary = (getattr(entry.point.load(), "__doc__", None) or "").strip().partition("\n")[0]
        return PluginInfo(
            entry.name, (), entry.distribution, entry.version, summary, ready=True, kind="plugin"
        )


def _import(entry: Entry) -> object:
    try:
        return entry.point.load()
    except ImportError as exc:
        extra = entry.extra()
        if extra and exc.name and not belongs_to(exc.name, (entry.module, "mbk")):
            raise missing_dependency(entry.name, extra, (exc.name,)) from exc
        raise broken_plugin(entry.name, entry.origin, _reason(exc)) from exc
    except Exception as exc:  # importing runs foreign code: whatever it raised, it is broken
        raise broken_plugin(entry.name, entry.origin, _reason(exc)) from exc


def _with_extra(backend: StorageBackend, entry: Entry) -> StorageBackend:
    """What brings the SDK is an extra of the plugin's own distribution, unless the plugin says otherwise."""
    named = not backend.requires or backend.extra
    return backend if named else replace(backend, extra=entry.extra(backend.name))


def _reason(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".partition("\n")[0].rstrip(": ")


def _spellings(backend: StorageBackend) -> set[str]:
    return {spelling.lower() for spelling in (backend.name, *backend.aliases)}


def _info(backend: StorageBackend, selectable: Iterable[str], entry: Entry | None = None) -> PluginInfo:
    aliases = tuple(alias for alias in backend.aliases if alias.lower() in selectable)
    ready = all(is_present(module) for module in backend.requires)
    return PluginInfo(
        name=backend.name,
        aliases=aliases,
        distribution=entry.distribution if entry else "",
        version=entry.version if entry else "",
        summary=backend.summary,
        ready=ready,
        install="" if ready else missing_dependency(backend.name, backend.extra, backend.requires).hint or "",
    )


def _failed(
    name: str, aliases: tuple[str, ...], entry: Entry, error: MbkError, *, kind: str = "storage"
) -> PluginInfo:
    problem = error.message
    return PluginInfo(
        name,
        aliases,
        entry.distribution,
        entry.version,
        "",
        ready=False,
        problem=problem,
        install=error.hint or "",
        kind=kind,
    )
