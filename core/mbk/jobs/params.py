"""What each kind of job is asked for: the bodies of ``POST /api/v2/jobs``, and what ``/api/v1`` is translated into."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mbk.model.mapping import parse_mapping
from mbk.model.options import CreateOptions, RestoreOptions, Strategy
from mbk.model.selection import Renaming, Selection

Text = Annotated[str, Field(max_length=65_536)]
Name = Annotated[str, Field(min_length=1, max_length=256, description="the backup's name")]
SkipParam = Literal["collectionProperties", "fieldIndexParams", "fieldTypeParams", "indexParams"]


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        "", max_length=1024, description="root path of the backups, in place of the configured one"
    )
    bucket: str = Field("", max_length=63, description="their bucket, in place of the configured one")

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every path and bucket that is named."""
        return [(self.path, self.bucket)]


class BackupParams(Params):
    kind: Literal["backup"]
    name: str = Field("", max_length=128, description="the backup's name; empty: one made of the time")
    filter: Text = Field("", description="comma list of db.*, db.coll, coll, db.; empty: everything")
    exclude: Text = Field("", description="the same, of what is left out")
    strategy: Strategy = Strategy.AUTO
    format: Literal["auto", "binlog", "snapshot"] = "auto"
    rbac: bool = Field(False, description="also users, roles and grants")
    index_extra: bool = Field(False, description="also what only Milvus' etcd knows of indexes")
    pause_gc: bool | None = Field(None, description="null: as configured")
    fail_fast: bool = Field(False, description="stop at the first collection that fails")

    def options(self, *, resume: bool) -> CreateOptions:
        return CreateOptions(
            selection=Selection.parse(self.filter, exclude=self.exclude),
            strategy=self.strategy,
            format=self.format,
            rbac=self.rbac,
            resume=resume,
            fail_fast=self.fail_fast,
            pause_gc=self.pause_gc,
            index_extra=self.index_extra,
        )


class RestoreParams(Params):
    kind: Literal["restore"]
    backup: Name
    filter: Text = Field("", description="what to restore, matched against the names after renaming")
    source_filter: Text = Field("", description="the same, matched against the names in the backup")
    suffix: str = Field("", max_length=256, description="appended to every collection's name")
    rename: dict[str, str] = Field({}, description="db1.coll to db2.new, coll to new, or db1.* to db2.*")
    mapping: list[dict[str, Any]] = Field([], description="the mapping of a classic restorePlan")
    drop_existing: bool = False
    skip_create: bool = False
    meta_only: bool = False
    rebuild_index: bool = False
    auto_index: bool = False
    drop_index: bool = False
    rbac: bool = False
    aliases: bool = False
    load: bool = False
    wait_index: bool = True
    truncate: bool = Field(False, description="leave out rows that are newer than the backup's line")
    rest_import: bool | None = Field(None, description="merged import over REST; null: where it is better")
    max_shards: int = Field(0, ge=0, le=1024, description="0: as in the backup")
    skip_params: dict[SkipParam, list[str]] = Field({}, description="property keys to leave out")
    ezk_mapping: dict[str, str] = Field(
        {},
        description="zone key in the backup to the zone key of the target; never shown, never written down",
    )
    fail_fast: bool = False

    def options(self, *, only: str = "") -> RestoreOptions:
        """``only``: a filter of target names that counts in place of the own one."""
        return RestoreOptions(
            renaming=Renaming.of(self.rename, suffix=self.suffix),
            mapping=parse_mapping(self.mapping),
            selection=Selection.parse(only or self.filter),
            source_selection=Selection.parse(self.source_filter),
            drop_existing=self.drop_existing,
            skip_create=self.skip_create,
            meta_only=self.meta_only,
            rebuild_index=self.rebuild_index,
            auto_index=self.auto_index,
            drop_index=self.drop_index,
            rbac=self.rbac,
            aliases=self.aliases,
            load=self.load,
            wait_index=self.wait_index,
            truncate=self.truncate,
            rest_import=self.rest_import,
            max_shards=self.max_shards,
            skip_params={key: frozenset(values) for key, values in self.skip_params.items()},
            ezk_mapping=self.ezk_mapping,
            fail_fast=self.fail_fast,
        )


class SecondaryParams(Params):
    kind: Literal["secondary"]
    backup: Name
    source_cluster: str = Field(
        min_length=1, max_length=256, description="id of the cluster that was backed up"
    )
    target_cluster: str = Field(min_length=1, max_length=256, description="id of the standby")


class CopyParams(Params):
    """``path`` and ``bucket`` say where the backup lies, as ever; the others where the copy goes, on the same service."""

    kind: Literal["copy"]
    backup: Name
    to_path: str = Field("", max_length=1024, description="root path of the copy; empty: as the original's")
    to_bucket: str = Field("", max_length=63, description="its bucket; empty: as the original's")

    @property
    def places(self) -> list[tuple[str, str]]:
        return [(self.path, self.bucket), (self.to_path, self.to_bucket)]


class DeleteParams(Params):
    kind: Literal["delete"]
    backup: Name
