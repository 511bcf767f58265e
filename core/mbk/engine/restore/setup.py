"""What a restore prepares before the first collection: databases, and targets of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from mbk.engine.restore.exchange import Rename, rename
from mbk.engine.restore.plan import RestorePlan
from mbk.engine.restore.schema import database_properties
from mbk.engine.restore.standing import Standing
from mbk.engine.runtime.run import Run
from mbk.errors import AlreadyExists
from mbk.frozen import frozen
from mbk.model.options import RestoreOptions
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature


@frozen
class RestoreSetup:
    milvus: Milvus
    run: Run
    plan: RestorePlan
    options: RestoreOptions

    def create_databases(self) -> None:
        present = {
            item.db_name for item in self.run.retry.call("list databases", self.milvus.inventory.databases)
        }
        for database in self.plan.databases:
            name = database.db_name
            if name in present or Feature.DATABASES not in self.milvus.features:
                continue
            properties = database_properties(database, self.options)
            if properties and Feature.DESCRIBE_DATABASE not in self.milvus.features:
                self.run.notice(
                    "properties-lost",
                    "database {name} is restored without its properties, which Milvus {version} does not support",
                    name=name,
                    version=self.milvus.version,
                )
                properties = []
            # It may exist because a response was lost, or another client created it.
            with suppress(AlreadyExists):
                self.run.retry.call(
                    f"create database {name}", self.milvus.definitions.create_database, name, properties
                )

    def resume(self, standings: Mapping[CollectionName, Standing]) -> set[CollectionName]:
        """Gives names back that a killed exchange left, drops what must be restored again; returns the targets to resume."""
        for target, standing in standings.items():
            database, under = target.database, standing.beside or target.collection
            if standing.moved is not None:
                moved = standing.moved
                rename(self.milvus, self.run, database, Rename(moved.id, moved.name, target.collection))
            if standing.resumable:
                self.run.notice(
                    "resumed",
                    "resuming the restore into {target}, which an earlier run did not finish",
                    target=target,
                )
            elif standing.begun:
                self.run.retry.call(
                    f"drop {database}.{under}", self.milvus.definitions.drop_collection, database, under
                )
        return {target for target, standing in standings.items() if standing.resumable}
