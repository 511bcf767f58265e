"""What an operation works with: one value, given by whoever composes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.pace import Pace
from mbk.engine.runtime.run import Run
from mbk.ports.cloud import Cloud, Volume
from mbk.ports.metastore import MetaStore
from mbk.ports.milvus.server import Milvus
from mbk.ports.replicate import OpenReplication
from mbk.ports.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """For operations on backups alone. ``tool`` stands in the backups that are made as their maker, ``id`` as the id of
    the next one; empty: a new id.

    Everything in it may be used by several threads at once.
    """

    run: Run
    backup_storage: Storage
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    tool: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterContext(Context):
    """For operations that ask a Milvus. ``storage`` is Milvus' own.

    ``metastore`` is asked for what Milvus itself does not tell of indexes; ``rpc_channel`` is the name of 2.5's
    replication channel.
    """

    milvus: Milvus
    storage: Storage
    metastore: MetaStore | None = None
    rpc_channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyContext(Context):
    """``target`` is where a copy goes."""

    target: Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyContext(ClusterContext):
    """``milvus`` and ``storage`` are the standby's; ``open_log`` opens its log for the source's messages."""

    open_log: OpenReplication


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudContext(Context):
    """``open_volume`` opens the storage of a volume. ``batch``: objects between two looks at the credentials' end."""

    cloud: Cloud
    open_volume: Callable[[Volume], Storage]
    batch: int = 2_000
