"""For plugins that wrap a storage (throttle, trace, count, fail on purpose): the base that passes every call on."""

from __future__ import annotations

from mbk.ports.around import Around


class StorageWrapper(Around):
    """See `Around`. For a storage that keeps other bytes or keys than it is given this is the wrong base: see
    :class:`mbk.ports.storage.Storage`."""
