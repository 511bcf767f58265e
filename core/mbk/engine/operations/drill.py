"""The drill of `verify`: restores a backup into scratch databases, compares the rows, and removes everything again.

The names of the scratch databases follow from the backup, and start with a prefix that nobody else uses: what a killed
drill left is removed by the next one of the same backup. On servers without databases, they are scratch collections.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from mbk.engine.formats.verifying import Verifying
from mbk.engine.operations import restore
from mbk.engine.repository.catalog import Committed
from mbk.engine.repository.detailed import DetailedCollection
from mbk.engine.repository.record import Record
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.lease import hold
from mbk.errors import InvalidBackup, MbkError, PartialFailure
from mbk.frozen import frozen
from mbk.model.mapping import CollectionMapping, DatabaseMapping
from mbk.model.options import RestoreOptions
from mbk.model.records import (
    DEFAULT_DATABASE,
    Collection,
    CollectionSchema,
    FieldSchema,
    IndexInfo,
)
from mbk.model.reports import CollectionOutcome, Finding, RunReport
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState, FindingKind
from mbk.ports.milvus.values import Feature

PREFIX = "mbk_drill_"
#: Rows that are looked up in each collection.
SAMPLE = 100
#: Without an index of the backup: one that is built at once, by the vector's data type.
_INDEXES = {
    100: ("BIN_FLAT", "HAMMING"),
    101: ("FLAT", "L2"),
    102: ("FLAT", "L2"),
    103: ("FLAT", "L2"),
    104: ("SPARSE_INVERTED_INDEX", "IP"),
}


@frozen(kw_only=True)
class Drilled:
    """``rows``: ``db.coll`` of the backup -> the rows that were counted."""

    rows: dict[str, int]
    findings: list[Finding]


@frozen(kw_only=True)
class Drill:
    """``verifying`` tells which rows there must be."""

    context: ClusterContext
    name: str
    committed: Committed
    record: Record | None
    verifying: Verifying
    sample: int = SAMPLE

    def run(self, collections: Iterator[DetailedCollection]) -> Drilled:
        """Raises what concerns the whole run; a collection that cannot be restored is a finding."""
        context = self.context
        what = f"drill of backup {self.name!r}"
        with hold(context.storage, self._scratch, what, context.run, pace=context.pace.lease):
            self._remove()
            with self._removed():
                report, findings = self._restored()
                drilled = Drilled(rows={}, findings=findings)
                outcomes = {item.source: item for item in report.collections} if report else {}
                for collection in collections:
                    outcome = outcomes.get(collection.label)
                    if outcome is not None and outcome.outcome == CollectionState.DONE:
                        self._compare(collection, outcome, drilled)
                return drilled

    # -- names ---------------------------------------------------------------------------------------------------

    @property
    def _scratch(self) -> str:
        where = f"{self.context.backup_storage.location}/{self.name}"
        return PREFIX + hashlib.sha256(where.encode()).hexdigest()[:12]

    @property
    def _has_databases(self) -> bool:
        return Feature.DATABASES in self.context.milvus.features

    def _mapping(self) -> Iterator[DatabaseMapping]:
        """One scratch database for each that has collections which this server supports."""
        chosen: defaultdict[str, list[str]] = defaultdict(list)
        for item in self.committed.backup.collection_backups:
            if self._is_supported(item):
                chosen[item.db_name or DEFAULT_DATABASE].append(item.collection_name)
        for number, (database, names) in enumerate(sorted(chosen.items())):
            own = f"{self._scratch}_{number}"
            yield DatabaseMapping(
                source=database,
                target=own if self._has_databases else DEFAULT_DATABASE,
                collections=tuple(
                    CollectionMapping(source=name, target=name if self._has_databases else f"{own}_{at}")
                    for at, name in enumerate(names)
                ),
                properties=False,
            )

    def _is_supported(self, item: Collection) -> bool:
        """Another version of Milvus says nothing about a backup that it cannot represent."""
        problems = self.context.milvus.definitions.schema_problems(item.schema or CollectionSchema())
        if problems:
            self.context.run.notice(
                "drill-unsupported",
                "{collection} is left out of the drill, Milvus {version} does not support {reason}",
                f"{item.db_name or DEFAULT_DATABASE}.{item.collection_name}",
                version=self.context.milvus.version,
                reason="; ".join(problems),
            )
        return not problems

    # -- restoring -----------------------------------------------------------------------------------------------

    def _restored(self) -> tuple[RunReport | None, list[Finding]]:
        mapping = tuple(self._mapping())
        if not mapping:
            return None, []
        options = RestoreOptions(mapping=mapping, rebuild_index=True)
        try:
            return restore.execute(self.context, self.name, options), []
        except PartialFailure as failure:
            report = failure.report
            assert isinstance(report, RunReport)
            return report, [_not_restored(item.source, item.error or "") for item in report.failed]
        except MbkError as error:
            if concerns_everything(error) and not isinstance(error, InvalidBackup):
                raise
            return None, [_not_restored("", str(error))]

    # -- comparing -----------------------------------------------------------------------------------------------

    def _compare(self, collection: DetailedCollection, outcome: CollectionOutcome, drilled: Drilled) -> None:
        run, label = self.context.run, collection.label
        target = CollectionName.parse(outcome.target)
        run.phase("compare rows", label)
        try:
            self._load(collection, target)
            present = run.retry.call(
                f"count {label}", self.context.milvus.rows.count, target.database, target.collection
            )
            missing = self._missing(collection, target)
        except MbkError as error:
            if concerns_everything(error):
                raise
            run.notice(
                "drill-not-compared",
                "{collection} was restored, but its rows could not be compared: {reason}",
                label,
                reason=error.message,
            )
            return
        present = outcome.rows_present if present is None else present
        if present is not None:
            drilled.rows[label] = present
        if missing:
            some = ", ".join(map(str, missing[:3]))
            detail = f"{len(missing)} of the rows looked up are not there after a restore: {some}"
            drilled.findings.append(_not_restored(label, detail))
        expected = outcome.rows_expected
        if (
            expected is not None
            and present is not None
            and present < expected
            and not _may_shrink(collection)
        ):
            drilled.findings.append(
                _not_restored(label, f"{present} rows were restored instead of {expected}")
            )

    def _load(self, collection: DetailedCollection, target: CollectionName) -> None:
        definitions, run = self.context.milvus.definitions, self.context.run
        schema = collection.schema or CollectionSchema()
        indexed = {item.field_name for item in collection.index_infos}
        for field in schema.fields:
            if field.data_type in _INDEXES and field.name not in indexed:
                run.retry.call(
                    f"index {target}",
                    definitions.create_index,
                    target.database,
                    target.collection,
                    _index(field),
                )
        run.retry.call(f"load {target}", definitions.load, target.database, target.collection)
        while definitions.load_progress(target.database, target.collection) < 100:
            run.sleep(self.context.pace.load)

    def _missing(self, collection: DetailedCollection, target: CollectionName) -> list[int | str]:
        """Keys that the backup has, and the restored collection does not have exactly once."""
        context = self.context
        key, values = self.verifying.sample(
            context.backup_storage, context.run, self.committed, self.record, collection, self.sample
        )
        if not values:
            return []
        found = context.run.retry.call(
            f"query {target}",
            context.milvus.rows.having,
            target.database,
            target.collection,
            key,
            values,
        )
        return [value for value in values if found.count(value) != 1]

    # -- removing ------------------------------------------------------------------------------------------------

    @contextmanager
    def _removed(self) -> Iterator[None]:
        """Removes the scratch databases in any case, also when the run is cancelled; what stays is named."""
        try:
            yield
        finally:
            try:
                self._remove()
            except MbkError as error:
                self.context.run.notice(
                    "drill-left",
                    "{database} stays in Milvus until the next drill of this backup: {reason}",
                    database=f"{self._scratch}*",
                    reason=error.message,
                )

    def _remove(self) -> None:
        """What this drill, or a killed one, has in Milvus."""
        inventory, definitions, run = (
            self.context.milvus.inventory,
            self.context.milvus.definitions,
            self.context.run,
        )
        databases = [item.db_name for item in run.retry.call("list the databases", inventory.databases)]
        for database in databases:
            if not database.startswith(self._scratch) and self._has_databases:
                continue
            names = run.retry.call(f"list the collections of {database}", inventory.collections, database)
            for name in names:
                if self._has_databases or name.startswith(self._scratch):
                    run.retry.call(f"drop {database}.{name}", definitions.drop_collection, database, name)
            if self._has_databases:
                run.retry.call(f"drop database {database}", definitions.drop_database, database)


def _not_restored(label: str, detail: str) -> Finding:
    return Finding(FindingKind.NOT_RESTORED, detail, collection=label)


def _may_shrink(collection: DetailedCollection) -> bool:
    """Whether deletes, whose number is only known to a query, may have removed rows."""
    return any(
        segment.is_l0 or any(item.binlogs for item in segment.deltalogs) for segment in collection.segments()
    )


def _index(field: FieldSchema) -> IndexInfo:
    kind, metric = _INDEXES[field.data_type]
    return IndexInfo(field_name=field.name, params={"index_type": kind, "metric_type": metric})
