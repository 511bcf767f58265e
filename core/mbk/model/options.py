"""What a run is asked to do, independent of who asks: shell, REST or a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mbk.errors import UsageError
from mbk.model.mapping import DatabaseMapping
from mbk.model.selection import Renaming, Selection


class Strategy(StrEnum):
    """How a backup takes its consistency point (docs/reference/milvus-protocol.md#flush)."""

    AUTO = "auto"
    SERIAL_FLUSH = "serial_flush"
    BULK_FLUSH = "bulk_flush"
    SKIP_FLUSH = "skip_flush"
    META_ONLY = "meta_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOptions:
    """``resume`` completes an interrupted or partial backup; ``fail_fast`` stops at the first failed collection.

    ``pause_gc`` None: as configured. ``index_extra``: also what only Milvus' etcd knows of indexes.
    """

    selection: Selection = field(default_factory=Selection)
    strategy: Strategy = Strategy.AUTO
    format: str = "auto"
    rbac: bool = False
    resume: bool = False
    fail_fast: bool = False
    dry_run: bool = False
    pause_gc: bool | None = None
    index_extra: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """``selection`` is matched against the names after renaming, ``source_selection`` against those in the backup.

    ``mapping`` takes the place of ``renaming``: only what it names is restored, one source as several targets if wanted.
    ``skip_params`` are property keys left out at creation: ``collectionProperties``, ``fieldIndexParams``,
    ``fieldTypeParams``, ``indexParams``. ``max_shards`` 0: as in the backup. ``load`` replays the load state,
    ``aliases`` the aliases; ``wait_index`` waits until the indexes are built. ``truncate`` leaves out what is younger
    than the backup's consistency point. ``rest_import`` None: where it is the better way.
    """

    renaming: Renaming = field(default_factory=Renaming)
    mapping: tuple[DatabaseMapping, ...] = ()
    selection: Selection = field(default_factory=Selection)
    source_selection: Selection = field(default_factory=Selection)
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
    truncate: bool = False
    rest_import: bool | None = None
    max_shards: int = 0
    skip_params: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ezk_mapping: Mapping[str, str] = field(default_factory=dict, repr=False)
    fail_fast: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.drop_existing and self.skip_create:
            raise UsageError(
                "drop_exist_collection and skip_create_collection exclude each other", hint="give one of them"
            )
        if self.mapping and self.renaming != Renaming():
            raise UsageError("a restore plan excludes suffix and renames", hint="give one of them")


#: What a restore may leave out: properties of the collection, parameters of fields (two places) and of indexes.
SKIP_KINDS = ("collectionProperties", "fieldIndexParams", "fieldTypeParams", "indexParams")


def parse_skip_params(value: object) -> Mapping[str, frozenset[str]]:
    """Reads ``{kind: [key, …]}``; `UsageError` says what is wrong."""
    hint = f"write a JSON object of lists of keys; its keys are {', '.join(SKIP_KINDS)}"
    if not isinstance(value, Mapping):
        raise UsageError("skip_params is no object", hint=hint)
    for kind, keys in value.items():
        if kind not in SKIP_KINDS:
            raise UsageError(f"skip_params has the unknown key {kind!r}", hint=hint)
        if (
            isinstance(keys, str)
            or not isinstance(keys, Iterable)
            or not all(isinstance(key, str) for key in keys)
        ):
            raise UsageError(f"skip_params: {kind} is no list of keys", hint=hint)
    return {kind: frozenset(keys) for kind, keys in value.items()}
