"""What an operation works with, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.pace import Pace
from mbk.engine.runtime.retried import SIDES, retried, retried_milvus
from mbk.engine.runtime.run import Run
from mbk.frozen import frozen
from mbk.model.locking import ObjectLock
from mbk.model.retention import Rules
from mbk.ports.cloud import Cloud, Volume
from mbk.ports.metastore import MetaStore
from mbk.ports.milvus.server import Milvus
from mbk.ports.replicate import OpenReplication
from mbk.ports.storage import Location, Storage


@frozen(kw_only=True)
class Context:
    """For operations that only need backups. ``tool`` is recorded as the creator of a new backup, ``id`` as its id; an
    empty id means a new one. ``storage`` is Milvus' own, where the operation needs it, and ``ask_milvus``
    connects to the server where it may be asked. ``milvus_place``: where Milvus keeps its data, None if that is not known. ``object_lock``: how new
    backups are locked, None for not at all. ``retention``: the configured rules of a prune.

    Each call of the storages and of Milvus is retried by ``run``, whoever makes it. Several threads may use everything in it.
    """

    run: Run
    backup_storage: Storage
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    tool: str = ""
    id: str = ""
    milvus_place: Location | None = None
    object_lock: ObjectLock | None = None
    retention: Rules = field(default_factory=Rules)
    storage: Storage | None = None
    ask_milvus: Callable[[], Milvus] | None = None

    def __post_init__(self) -> None:
        for name in ("backup_storage", "storage", "target"):
            if getattr(self, name, None) is not None:
                # The source of a copy may lie anywhere, and so may its target.
                side = name if name in SIDES and not isinstance(self, CopyContext) else ""
                object.__setattr__(self, name, retried(getattr(self, name), self.run, side=side))
        if isinstance(self, ClusterContext):
            object.__setattr__(self, "milvus_place", self.storage.location)
            milvus = retried_milvus(self.milvus, self.run)
            object.__setattr__(self, "milvus", milvus)
            object.__setattr__(self, "ask_milvus", lambda: milvus)


@frozen(kw_only=True)
class ClusterContext(Context):
    """For operations that need a running Milvus. ``storage`` is Milvus' own.

    ``metastore`` provides what Milvus does not report about indexes; ``rpc_channel`` is the name of the replication
    channel of Milvus 2.5.
    """

    milvus: Milvus
    storage: Storage
    metastore: MetaStore | None = None
    rpc_channel: str = ""


@frozen(kw_only=True)
class CopyContext(Context):
    """``target`` is the storage to copy to."""

    target: Storage


@frozen(kw_only=True)
class StandbyContext(ClusterContext):
    """``milvus`` and ``storage`` belong to the standby; ``open_log`` opens its log for messages of the source."""

    open_log: OpenReplication


@frozen(kw_only=True)
class CloudContext(Context):
    """``open_volume`` opens the storage of a volume. ``batch``: objects between two checks of the credentials' expiry."""

    cloud: Cloud
    open_volume: Callable[[Volume], Storage]
    batch: int = 2_000
