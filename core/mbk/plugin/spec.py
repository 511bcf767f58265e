"""The hooks of mbk: the whole extension surface on one page, in the order in which they are called.

A plugin is a module (or an object) named by an entry point of the group ``mbk.storage``. Every spelling of
``storageType`` that it answers to is an entry-point name of its own, so that mbk imports only the chosen one::

    [project.entry-points."mbk.storage"]
    acme = "mbk_acme"
    acme-cloud = "mbk_acme"

A plugin that offers no storage but observes or wraps (throttling, tracing, fault injection) uses the group
``mbk.plugin``; those are loaded on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from mbk.frozen import frozen

if TYPE_CHECKING:
    from mbk.model.events import Event
    from mbk.plugin.settings import StorageSettings
    from mbk.ports.storage import Storage

PROJECT = "mbk"
STORAGE_GROUP = "mbk.storage"
PLUGIN_GROUP = "mbk.plugin"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@frozen
class StorageBackend:
    """One kind of storage, as its plugin declares it. Making the record must import no SDK and do no I/O.

    ``name`` is canonical (lower case), ``aliases`` the other accepted spellings, ``summary`` one line for
    ``mbk plugins``. ``settings`` returns the settings class (a callable, so that pydantic is loaded only when used).
    ``open`` gets an instance of it and returns the storage; it may import the SDK and must not send a request.
    ``extra`` brings the SDK (``mbk-acme[sdk]``), by default the extra of the plugin's distribution with this name; ``requires`` are
    the modules whose presence shows that it is installed.

    A URL names a bucket of it by its name, by an alias, or by one of ``schemes``. The first elements of the URL are the
    settings in ``url``, the rest is a path. ``ambient``: of the storages that share a scheme, the one that is meant where
    nothing is configured, because its address is known and its credentials may come from the environment.
    """

    name: str
    summary: str
    settings: Callable[[], type[StorageSettings]]
    open: Callable[[Any], Storage]
    aliases: tuple[str, ...] = ()
    extra: str = ""
    requires: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    url: tuple[str, ...] = ("bucket",)
    ambient: bool = False

    def answers(self, scheme: str) -> bool:
        """Whether a URL with this scheme (in lower case) may name a bucket of it."""
        return self.is_called(scheme) or scheme in (item.lower() for item in self.schemes)

    def is_called(self, word: str) -> bool:
        """Whether this is its name or an alias, in lower case."""
        return word in (spelling.lower() for spelling in (self.name, *self.aliases))


@hookspec
def mbk_storage_backends() -> Iterable[StorageBackend]:  # type: ignore[empty-body]  # a specification has no body
    """Collecting. Yields the storages that this plugin offers.

    Called once, after the plugin was loaded because one of its entry-point names was selected (or listed by
    ``mbk plugins``). An exception, or a record of another type, makes the plugin broken: that is an error for
    whoever selected it and a line in ``mbk plugins`` for everybody else.
    """


@hookspec(firstresult=True)
def mbk_open_storage(backend: StorageBackend, settings: StorageSettings) -> Storage | None:
    """First result wins; wrappable. Returns an opened storage, or None to leave it to the next implementation.

    Called once for each side (Milvus', the backup's) before its first use. mbk's own implementation comes last and
    calls ``backend.open(settings)``. A wrapper (``@hookimpl(wrapper=True)``) receives the storage and returns one:
    throttled, traced, made to fail on purpose. Exceptions pass through to the user; an ``ImportError`` becomes the
    `pip install` that fixes it.
    """


@hookspec
def mbk_event(event: Event) -> None:
    """Collecting and isolated. Observes one lifecycle event (:mod:`mbk.model.events`); the return value is ignored.

    Events are frozen and arrive one at a time, from any thread. An exception is logged with the plugin's name and
    never reaches the run or the other observers.
    """
