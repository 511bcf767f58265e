"""The port of a standby cluster: what `restore secondary` writes into its log.

Messages are sent one after the other and are confirmed when a call returns. Each call is one attempt; the same call
with the same arguments in the same order as before changes nothing that the cluster has taken already, because time
ticks are counted and a cluster leaves out those that it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mbk.model.records import Collection, Database, IndexInfo, Rbac


class Replication(Protocol):
    def topology(self) -> Mapping[str, tuple[str, ...]]:
        """Cluster id -> its physical channels, as the target knows them; empty where nobody told it."""

    def checkpoint(self, channel: str) -> int:
        """The time tick up to which the target has taken the source's messages on one of its own physical channels."""

    def create_database(self, database: Database) -> None: ...

    def create_collection(self, collection: Collection, database_id: int) -> None:
        """Under its own ids and channels; ``$meta`` is among the fields where dynamic fields are on."""

    def create_index(self, collection: Collection, database_id: int, index: IndexInfo) -> None: ...

    def start_import(
        self,
        collection: Collection,
        *,
        job: int,
        partition: int,
        files: Sequence[Sequence[str]],
        options: Mapping[str, str],
    ) -> None:
        """Announces an import job of a chosen id; it waits for `commit_import` when it has read everything."""

    def commit_import(self, collection: Collection, *, job: int, needed: bool) -> None:
        """Not ``needed``: the server commits by itself, or has done so already; the ticks are counted all the same."""

    def load(self, collection: Collection, database_id: int) -> None: ...

    def restore_rbac(self, rbac: Rbac, present: Rbac) -> None:
        """Those of ``rbac`` that ``present`` lacks."""

    def forward(self, channel: str, message: bytes) -> None:
        """Sends a stored ``commonpb.ImmutableMessage`` as it is."""

    def close(self) -> None: ...


#: Opens the log of a cluster, given the control channel of the source whose messages go there.
OpenReplication = Callable[[str], Replication]
