"""What a session works with: Milvus, its storage, the backup storage; each opened on first use. And how much at once."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mbk.config.schema import Settings
    from mbk.engine.operations.limits import RestoreLimits
    from mbk.engine.transfer.transfer import TransferLimits
    from mbk.ports.metastore import MetaStore
    from mbk.ports.milvus.server import Milvus
    from mbk.ports.storage import Storage
    from mbk.registry.registry import Registry


class Connections:
    """A context manager; safe to use from several threads."""

    def __init__(self, settings: Settings, *, registry: Registry | None = None) -> None:
        self.settings = settings
        self._registry = registry
        self._milvus: Milvus | None = None
        self._metastore: MetaStore | None = None
        self._storage: Storage | None = None
        self._backup: Storage | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes what was opened; idempotent. The session can be used again and opens anew."""
        with self._lock:
            opened = (self._milvus, self._metastore, self._storage, self._backup)
            self._milvus = self._metastore = self._storage = self._backup = None
        for item in opened:
            if item is not None:
                item.close()

    # -- what is worked with -------------------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        with self._lock:
            if self._registry is None:
                from mbk.registry.registry import Registry

                self._registry = Registry()
                self._registry.start()
            return self._registry

    @property
    def milvus(self) -> Milvus:
        """The server; connecting may raise `MilvusUnavailable` or `AuthenticationFailed`."""
        with self._lock:
            if self._milvus is None:
                from mbk.milvus import connect as connect_milvus

                self._milvus = connect_milvus(self.settings.milvus)
            return self._milvus

    @property
    def metastore(self) -> MetaStore:
        """Milvus' etcd, asked for what Milvus itself does not tell (``index_extra``)."""
        with self._lock:
            if self._metastore is None:
                from mbk.milvus.etcd import EtcdMetaStore

                milvus = self.settings.milvus
                self._metastore = EtcdMetaStore(milvus.etcd_endpoints, milvus.etcd_root_path)
            return self._metastore

    @property
    def storage(self) -> Storage:
        """Where Milvus keeps its data."""
        with self._lock:
            if self._storage is None:
                self._storage = self.registry.open(self.settings.storage)
            return self._storage

    @property
    def backup_storage(self) -> Storage:
        """Where the backups are."""
        with self._lock:
            if self._backup is None:
                self._backup = self.registry.open(self.settings.backup_storage)
            return self._backup

    def _backup_storage_at(self, *, path: str, bucket: str) -> Storage:
        """Another root path or bucket of the backup storage, opened for the caller to close."""
        choice = self.settings.backup_storage
        changes = {"root_path": path, "bucket": bucket}
        values = {**choice.values, **{name: value for name, value in changes.items() if value}}
        return self.registry.open(choice.model_copy(update={"values": values}))

    # -- how much at once ----------------------------------------------------------------------------------------

    def _restore_limits(self) -> RestoreLimits:
        from mbk.engine.operations.limits import restore_limits

        return restore_limits(self.settings)

    def _transfer_limits(self) -> TransferLimits:
        from mbk.engine.operations.limits import transfer_limits

        return transfer_limits(self.settings)
