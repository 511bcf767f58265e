"""What a restore makes ready before the first collection: the way of its imports, databases, leftovers of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from mbk.engine.formats.binlog.places import SegmentPlaces
from mbk.engine.restore.checks import Places, segments_of
from mbk.engine.restore.plan import RestorePlan
from mbk.engine.restore.schema import database_properties
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, AlreadyExists, MbkError, Unreachable, Unsupported
from mbk.model.options import RestoreOptions
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature


@dataclass(frozen=True, slots=True)
class RestoreSetup:
    milvus: Milvus
    run: Run
    plan: RestorePlan
    options: RestoreOptions

    def rest(self, places: Places) -> bool | None:
        """Whether jobs go over REST: True all, None those that gain by it, False none.

        One that was asked for must answer; else gRPC does, and that is told.
        """
        asked = self.options.rest_import
        if Feature.REST_IMPORT not in self.milvus.features:
            if asked:
                self.run.notice(
                    "rest-missing",
                    f"Milvus {self.milvus.version} imports over gRPC alone: that is used instead",
                )
            return False
        if asked is False or not (asked or self._gains(places)):
            return False

        def probe() -> object:
            return self.milvus.imports.jobs("default", "", rest=True)

        try:
            self.run.retry.call("ask for REST", probe) if asked else probe()
        except Unsupported as error:
            self.run.notice("rest-missing", f"{error.message}: gRPC is used instead")
            return False
        except (Unreachable, AccessError) as error:
            if asked:
                raise
            self.run.notice("rest-unreachable", f"{error.message}: gRPC is used instead")
            return False
        except MbkError:
            pass  # it is there
        return asked

    def _gains(self, places: Places) -> bool:
        """Whether any collection has several segments, which can share a job there."""
        counts = (
            sum(map(len, segments_of(task, places.get(task.target, SegmentPlaces()))))
            for task in self.plan.tasks
        )
        return any(count > 1 for count in counts)

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
                    f"database {name} comes back without its properties, which Milvus "
                    f"{self.milvus.version} does not have",
                )
                properties = []
            # It may be there by an answer that got lost, or by somebody else.
            with suppress(AlreadyExists):
                self.run.retry.call(
                    f"create database {name}", self.milvus.definitions.create_database, name, properties
                )

    def take_up(self, begun: Mapping[CollectionName, bool]) -> set[CollectionName]:
        """Drops what must be begun anew; returns the targets to go on with."""
        for target, resumable in begun.items():
            if resumable:
                self.run.notice(
                    "resumed", f"{target} was begun by an earlier restore that did not end: going on with it"
                )
            else:
                self.milvus.definitions.drop_collection(target.database, target.collection)
        return {target for target, resumable in begun.items() if resumable}
