"""The keyword arguments of `Session`, for type checkers.

Generated from the options classes; after a change there: ``python -m tests.typing.keywords``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypedDict

from mbk.model.options import (
    Bytes,
    Checksum,
    Chosen,
    Format,
    Labelled,
    Labelling,
    Mapped,
    Renamed,
    Requests,
    Skipped,
    StrategyName,
    Verify,
)
from mbk.model.selection import Renaming, Selection


class CreateKeywords(TypedDict, total=False):
    """Those of `CreateOptions`."""

    filter: Chosen | None
    exclude: Chosen | None
    selection: Selection
    strategy: StrategyName
    format: Format
    checksum: Checksum
    rbac: bool
    index_extra: bool
    pause_gc: bool | None
    incremental: bool | None
    labels: Labelled
    resume: bool
    allow_missing: bool
    fail_fast: bool
    dry_run: bool
    max_rate: Requests
    max_bandwidth: Bytes


class RestoreKeywords(TypedDict, total=False):
    """Those of `RestoreOptions`."""

    filter: Chosen | None
    exclude: Chosen | None
    source_filter: Chosen | None
    source_exclude: Chosen | None
    suffix: str
    rename: Renamed | None
    renaming: Renaming
    mapping: Mapped
    selection: Selection
    source_selection: Selection
    drop_existing: bool
    skip_create: bool
    append: bool
    follow_alias: bool
    meta_only: bool
    rebuild_index: bool
    auto_index: bool
    drop_index: bool
    wait_index: bool
    aliases: bool
    load: bool
    rbac: bool
    rest_import: bool | None
    truncate: bool
    verify: Verify
    salvage: bool
    no_cut: bool
    max_shards: int
    skip_params: Skipped
    ezk_mapping: Mapping[str, str]
    at: datetime | str | None
    time_zone: str
    labels: Labelling
    fail_fast: bool
    dry_run: bool
    max_rate: Requests
    max_bandwidth: Bytes


class PruneKeywords(TypedDict, total=False):
    """Those of `PruneOptions`."""

    keep_last: int
    keep_within: timedelta | str | None
    keep_hourly: int
    keep_daily: int
    keep_weekly: int
    keep_monthly: int
    keep_yearly: int
    keep_labels: Labelling
    labels: Labelling
    time_zone: str
    versions: bool
    only: frozenset[str] | None


class GcKeywords(TypedDict, total=False):
    """Those of `GcOptions`."""

    grace: timedelta | str | None
    max_rate: Requests
    max_bandwidth: Bytes
