"""A storage and a Milvus that ask the fence before each call that cannot be taken back, so that no caller can forget it.

An operation that holds a lease works with what `writing_backup` or `restoring` makes of its storages. Copies of
data are not asked for: there are many, and what a run that lost its lease copied is removed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final, cast

from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.fence import Fence
from mbk.engine.runtime.layer import Layer
from mbk.model.layout import MANIFEST, BackupLayout
from mbk.ports.milvus.server import Milvus
from mbk.ports.storage import (
    PLAIN,
    MultipartUpload,
    ObjectInfo,
    Receipt,
    Storage,
    WriteOptions,
)

#: What changes nothing in the role that otherwise only changes things.
_READS: Final = frozenset({"schema_problems", "unsendable", "index_states", "load_progress"})
#: What changes something in the other roles.
_CHANGES: Final[Mapping[str, frozenset[str]]] = {
    "access": frozenset({"restore"}),
    "imports": frozenset({"start"}),
    "snapshots": frozenset({"restore"}),
}

#: What removes something, of the abilities of storages.
_REMOVALS: Final = frozenset({"delete_versions", "tidy"})


def writing_backup(storage: Storage, fence: Fence, name: str) -> Storage:
    """The metadata of the backup is written, and whatever is deleted is deleted, under the lease only."""
    place = BackupLayout(storage.location.root, name)
    return FencedStorage(storage, fence, lambda key: key.startswith(place.meta_prefix))


def restoring(context: ClusterContext, fence: Fence) -> ClusterContext:
    """Milvus is changed, journals are written and copies deleted under the lease only."""
    storage = FencedStorage(context.storage, fence, lambda key: key.endswith(f"/{MANIFEST}"))
    return replace(context, storage=storage, milvus=cast("Milvus", _FencedMilvus(context.milvus, fence)))


class FencedStorage(Layer):
    """See :class:`mbk.ports.storage.Storage`. ``guards``: which keys are written under the lease only."""

    def __init__(self, wrapped: Storage, fence: Fence, guards: Callable[[str], bool]) -> None:
        super().__init__(wrapped)
        self._fence = fence
        self._guards = guards

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require(key)
        return super().write(key, chunks, size=size, options=options)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require(key)
        return super().write_if_absent(key, chunks, size=size, options=options)

    def multipart(
        self, key: str, *, options: WriteOptions = PLAIN
    ) -> AbstractContextManager[MultipartUpload]:
        self._require(key)
        return super().multipart(key, options=options)

    def delete(self, keys: Iterable[str]) -> None:
        self._fence.require()
        super().delete(keys)

    def clean(self, prefix: str) -> int:
        self._fence.require()
        return super().clean(prefix)

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        self._require(key)
        return super().copy(source, source_key, key, options=options)

    def within(self, name: str, call: Callable[[], Any], /) -> Any:
        if name in _REMOVALS:
            self._fence.require()
        return call()

    def is_guarded(self, key: str) -> bool:
        return self._guards(key)

    def _require(self, key: str) -> None:
        if self._guards(key):
            self._fence.require()


class _FencedMilvus:
    """See :class:`mbk.ports.milvus.server.Milvus`."""

    def __init__(self, wrapped: Milvus, fence: Fence) -> None:
        self._wrapped = wrapped
        self._fence = fence

    def __repr__(self) -> str:
        return repr(self._wrapped)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if name == "definitions":
            return _FencedRole(found, self._fence, lambda call: call not in _READS)
        if name in _CHANGES:
            return _FencedRole(found, self._fence, _CHANGES[name].__contains__)
        return found


class _FencedRole:
    def __init__(self, wrapped: Any, fence: Fence, changes: Callable[[str], bool]) -> None:
        self._wrapped = wrapped
        self._fence = fence
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._wrapped, name)
        if not callable(method) or not self._changes(name):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._fence.require()
            return method(*args, **kwargs)

        return call
