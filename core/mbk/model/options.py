"""The options of each operation. A field is declared here once: flags, REST bodies, keywords and docs follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, get_args

from mbk.errors import UsageError
from mbk.model.declared import Also, Option, Options, conflict, unknown_key, wrong_type
from mbk.model.mapping import DatabaseMapping, parse_mapping
from mbk.model.selection import Renaming, Selection

Format = Literal["auto", "binlog", "snapshot"]
#: What a restore may leave out: properties of the collection, parameters of fields (two places) and of indexes.
SkipKind = Literal["collectionProperties", "fieldIndexParams", "fieldTypeParams", "indexParams"]
SKIP_KINDS: tuple[str, ...] = get_args(SkipKind)

# What keyword arguments accept for the engine's values.
Chosen: TypeAlias = str | Mapping[str, Iterable[str]] | Selection
Renamed: TypeAlias = str | Mapping[str, str]
Mapped: TypeAlias = Iterable[DatabaseMapping] | Iterable[Mapping[str, Any]] | None
Skipped: TypeAlias = Mapping[str, Iterable[str]] | None
StrategyName: TypeAlias = (
    "Strategy | Literal['auto', 'serial_flush', 'bulk_flush', 'skip_flush', 'meta_only']"
)

_FILTER = "Comma list of db.*, db.coll, coll, db., coll/part"
_CHOSEN_JSON = str | dict[str, list[str]]


class Strategy(StrEnum):
    """How a backup takes its consistency point (docs/reference/milvus-protocol.md#flush)."""

    AUTO = "auto"
    SERIAL_FLUSH = "serial_flush"
    BULK_FLUSH = "bulk_flush"
    SKIP_FLUSH = "skip_flush"
    META_ONLY = "meta_only"


def selection_of(value: object, name: str) -> Selection:
    """A filter in any of its forms: text, ``{database: [collection, …]}``, or a `Selection`."""
    if isinstance(value, Selection):
        return value
    if isinstance(value, str):
        return Selection.parse(value)
    if not isinstance(value, Mapping) or not all(map(_is_list_of_text, value.values())):
        raise wrong_type(
            name, value, "a string ('db.coll,db2.*'), a mapping of lists ({'db': ['coll']}) or a Selection"
        )
    return Selection.of(value)


def renaming_of(rename: object, suffix: object) -> Renaming:
    """``rename`` as text or as ``{old: new}``."""
    if not isinstance(suffix, str):
        raise wrong_type("suffix", suffix, "a string")
    if isinstance(rename, str):
        return Renaming.parse(rename, suffix=suffix)
    if not isinstance(rename, Mapping) or not all(
        isinstance(text, str) for pair in rename.items() for text in pair
    ):
        raise wrong_type(
            "rename", rename, "a string ('old:new,db.*:db2.*') or a mapping of strings ({'old': 'new'})"
        )
    return Renaming.of(rename, suffix=suffix)


def mapping_of(value: object, _: str) -> tuple[DatabaseMapping, ...]:
    """A mapping from JSON, or of `DatabaseMapping`s."""
    if isinstance(value, list | tuple) and all(isinstance(item, DatabaseMapping) for item in value):
        return tuple(value)
    return parse_mapping(value)


def skip_params_of(value: object, name: str) -> Mapping[str, frozenset[str]]:
    """``{kind: [key, …]}``; None skips nothing."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong_type(name, value, f"an object of lists for {', '.join(SKIP_KINDS)}")
    for kind, keys in value.items():
        if kind not in SKIP_KINDS:
            raise unknown_key(name, kind, SKIP_KINDS)
        if not _is_list_of_text(keys):
            raise wrong_type(f"{name}.{kind}", keys, "a list of strings")
    return {kind: frozenset(keys) for kind, keys in value.items()}


def keys_of(value: object, name: str) -> Mapping[str, str]:
    """``{key: key}``; secret, so that errors never repeat it."""
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) for pair in value.items() for text in pair
    ):
        raise wrong_type(name, value, 'an object of strings ({"key of the backup": "key of the target"})')
    return dict(value)


def _is_list_of_text(value: object) -> bool:
    is_list = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
    return is_list and all(isinstance(item, str) for item in value)  # type: ignore[attr-defined]  # is_list says so


def _old_filters(collections: str, names: str, instead: str, *excludes: str) -> tuple[Also, ...]:
    """``-c``, ``-d`` and ``-a`` of release 0.5; only one may be given."""
    use = f"0.5: use {instead}."
    return (
        Also(
            flags=(collections, "-c"), metavar="LIST", form="collections", since="0.5", excludes=excludes,
            help=use, more=f"A comma list of `coll` and `db.coll`{names}.",
        ),
        Also(
            flags=("--databases", "-d"), metavar="LIST", form="databases", since="0.5", excludes=excludes,
            help=use, more=f"A comma list of databases{names}.",
        ),
        Also(
            flags=("--database-collections", "-a"), metavar="JSON", form="by_database", since="0.5", excludes=excludes,
            help=use, more='`{"db1": ["coll1"], "db2": []}`, an empty list being the whole database.',
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOptions(Options):
    """``selection`` is the result of ``filter`` and ``exclude``; the engine reads nothing else.

    ``filter`` replaces a ``selection`` given beside it, ``exclude`` removes from it.
    """

    filter: InitVar[
        Annotated[
            Chosen | None,
            Option(
                flags=("--filter",),
                metavar="LIST",
                read=selection_of,
                json=_CHOSEN_JSON,
                help=_FILTER,
                default="all",
                more="A [filter](#filters).",
                also=_old_filters("--colls", "", "--filter"),
            ),
        ]
    ] = None
    exclude: InitVar[
        Annotated[
            Chosen | None,
            Option(
                flags=("--exclude",),
                metavar="LIST",
                read=selection_of,
                json=_CHOSEN_JSON,
                help="Filter of what to exclude.",
            ),
        ]
    ] = None
    selection: Selection = field(default_factory=Selection)
    strategy: Annotated[
        Strategy,
        Option(
            flags=("--strategy",),
            accepts="StrategyName",
            help="How the consistency point is taken (flush strategy).",
            more="`serial_flush` flushes one collection after the other, `bulk_flush` all at once, if the server can; "
            "`skip_flush` backs up only data that is persisted already, `meta_only` only definitions.",
            also=(
                Also(
                    flags=("--force", "-f"),
                    value=Strategy.SKIP_FLUSH,
                    since="0.5",
                    help="0.5: use --strategy skip_flush.",
                ),
                Also(
                    flags=("--meta-only",),
                    value=Strategy.META_ONLY,
                    since="0.5",
                    help="0.5: use --strategy meta_only.",
                ),
            ),
        ),
    ] = Strategy.AUTO
    format: Annotated[
        str,
        Option(
            flags=("--format",),
            choices=get_args(Format),
            accepts="Format",
            help="Data format.",
            more="`binlog` copies the files of the segments, `snapshot` lets Milvus 3.0 and newer export them itself; "
            "`auto` is `snapshot` on 3.0.",
        ),
    ] = "auto"
    rbac: Annotated[bool, Option(flags=("--rbac",), help="Also users, roles and grants.")] = False
    index_extra: Annotated[
        bool,
        Option(
            flags=("--backup-index-extra",),
            help="Also details of indexes that only the etcd of Milvus has.",
            more="Set `milvus.etcd` in the configuration. `restore secondary` needs them.",
        ),
    ] = False
    pause_gc: Annotated[
        bool | None,
        Option(
            flags=("--pause-gc",),
            off=("--no-pause-gc",),
            help="Pause Milvus' garbage collection while files are copied.",
            default="as configured",
        ),
    ] = None
    resume: Annotated[
        bool,
        Option(
            flags=("--resume",),
            rest=None,
            help="Complete an interrupted or partial backup of this name.",
            more="Objects that were copied completely are kept.",
        ),
    ] = False
    fail_fast: Annotated[
        bool,
        Option(
            flags=("--fail-fast",),
            help="Stop at the first collection that fails.",
            more="Otherwise the others continue, and the exit code is 3.",
        ),
    ] = False
    dry_run: bool = False

    def __post_init__(self, filter: Chosen | None, exclude: Chosen | None) -> None:
        self._check()
        _choose(self, "selection", filter=filter, exclude=exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions(Options):
    """``selection`` is matched against the names after renaming, ``source_selection`` against those in the backup.

    The engine reads only the results: ``selection`` of ``filter`` and ``exclude``, ``source_selection`` of
    ``source_filter`` and ``source_exclude``, ``renaming`` of ``suffix`` and ``rename``.
    ``mapping`` replaces ``renaming``: only what it names is restored, and one source may have several targets.
    """

    filter: InitVar[
        Annotated[
            Chosen | None,
            Option(
                flags=("--filter",),
                metavar="LIST",
                read=selection_of,
                json=_CHOSEN_JSON,
                help=f"{_FILTER} after renaming.",
                more="A [filter](#filters) of what to restore.",
            ),
        ]
    ] = None
    exclude: InitVar[
        Annotated[
            Chosen | None,
            Option(
                flags=("--exclude",),
                metavar="LIST",
                read=selection_of,
                json=_CHOSEN_JSON,
                help="Filter of what to exclude, by names after renaming.",
            ),
        ]
    ] = None
    source_filter: InitVar[
        Annotated[
            Chosen | None,
            Option(
                flags=("--source-filter",),
                metavar="LIST",
                read=selection_of,
                json=_CHOSEN_JSON,
                help="Filter of what to restore, by names in the backup.",
                also=_old_filters("--collections", " in the backup", "--source-filter", "filter"),
            ),
        ]
    ] = None
    source_exclude: InitVar[
        Annotated[
            Chosen | None,
            Option(
                flags=("--source-exclude",),
                metavar="LIST",
                read=selection_of,
                json=_CHOSEN_JSON,
                help="Filter of what to exclude, by names in the backup.",
            ),
        ]
    ] = None
    suffix: InitVar[
        Annotated[
            str,
            Option(
                flags=("--suffix", "-s"),
                metavar="TEXT",
                longest=256,
                help="Appended to every collection's name.",
                more="Excludes `--rename`.",
            ),
        ]
    ] = ""
    rename: InitVar[
        Annotated[
            Renamed,
            Option(
                flags=("--rename", "-r"),
                metavar="LIST",
                json=str | dict[str, str],
                help="Comma list of coll:new, db1.coll:db2.new, db1.*:db2.*",
            ),
        ]
    ] = ""
    renaming: Renaming = field(default_factory=Renaming)
    mapping: Annotated[
        tuple[DatabaseMapping, ...],
        Option(
            read=mapping_of,
            accepts="Mapped",
            json=list[dict[str, Any]],
            help="Targets of databases and collections: the mapping of a classic restorePlan.",
        ),
    ] = ()
    selection: Selection = field(default_factory=Selection)
    source_selection: Selection = field(default_factory=Selection)
    drop_existing: Annotated[
        bool,
        Option(
            flags=("--drop-exist-collection",),
            help="Drop the target first.",
            more="Asks on a terminal; elsewhere it needs `--yes`.",
        ),
    ] = False
    skip_create: Annotated[
        bool,
        Option(
            flags=("--skip-create-collection",),
            help="Import into an existing target.",
            more="Excludes `--drop-exist-collection`.",
        ),
    ] = False
    meta_only: Annotated[
        bool, Option(flags=("--meta-only",), help="Only create databases and collections.")
    ] = False
    rebuild_index: Annotated[
        bool,
        Option(
            flags=("--rebuild-index",),
            help="Build the indexes of the backup.",
            also=(Also(flags=("--restore-index",), value=True, help="0.5: use --rebuild-index."),),
        ),
    ] = False
    auto_index: Annotated[
        bool,
        Option(flags=("--use-auto-index",), help="Rebuild vector indexes as AUTOINDEX."),
    ] = False
    drop_index: Annotated[
        bool, Option(flags=("--drop-exist-index",), help="Drop the indexes of the target first.")
    ] = False
    wait_index: Annotated[
        bool, Option(off=("--no-wait-index",), help="Wait until the indexes are built.")
    ] = True
    aliases: Annotated[bool, Option(flags=("--aliases",), help="Also the aliases.")] = False
    load: Annotated[bool, Option(flags=("--load",), help="Load what was loaded at backup time.")] = False
    rbac: Annotated[bool, Option(flags=("--rbac",), help="Also users, roles and grants.")] = False
    rest_import: Annotated[
        bool | None,
        Option(
            flags=("--use-v2-restore",),
            off=("--no-v2-restore",),
            help="Import many segments a job over REST.",
            default="where it is faster",
            more="Otherwise one after the other over gRPC.",
        ),
    ] = None
    truncate: Annotated[
        bool,
        Option(
            flags=("--at-backup-time",),
            help="Exclude rows and deletes newer than the backup.",
            more="The backup must record its consistency point for each channel.",
            also=(Also(flags=("--truncate-binlog-by-ts",), value=True, help="Same as --at-backup-time."),),
        ),
    ] = False
    max_shards: Annotated[
        int,
        Option(
            flags=("--max-shard-num",),
            metavar="N",
            minimum=0,
            maximum=1024,  # far above what any release of Milvus allows
            help="Maximum number of shards; 0: as in the backup.",
        ),
    ] = 0
    skip_params: Annotated[
        Mapping[str, frozenset[str]],
        Option(
            flags=("--skip-params",),
            metavar="JSON",
            form="json",
            read=skip_params_of,
            accepts="Skipped",
            json=dict[SkipKind, list[str]],
            help="Properties and parameters to leave out, by kind.",
            more='`{"collectionProperties": [], "fieldTypeParams": [], "fieldIndexParams": [], "indexParams": []}`, '
            "each a list of keys.",
        ),
    ] = field(default_factory=dict)
    ezk_mapping: Annotated[
        Mapping[str, str],
        Option(
            flags=("--ezk-mapping",),
            metavar="FILE",
            form="file",
            read=keys_of,
            json=dict[str, str],
            secret=True,
            help="Encryption keys of the backup and their replacements (JSON).",
            more="Keys are secrets, so they are read from a file.",
        ),
    ] = field(default_factory=dict, repr=False)
    fail_fast: Annotated[
        bool, Option(flags=("--fail-fast",), help="Stop at the first collection that fails.")
    ] = False
    dry_run: bool = False

    def __post_init__(
        self,
        filter: Chosen | None,
        exclude: Chosen | None,
        source_filter: Chosen | None,
        source_exclude: Chosen | None,
        suffix: str,
        rename: Renamed,
    ) -> None:
        self._check()
        _choose(self, "selection", filter=filter, exclude=exclude)
        _choose(self, "source_selection", source_filter=source_filter, source_exclude=source_exclude)
        if suffix or rename:
            object.__setattr__(self, "renaming", renaming_of(rename, suffix))
        if self.drop_existing and self.skip_create:
            raise conflict("drop_exist_collection", "skip_create_collection")
        if self.mapping and self.renaming != Renaming():
            raise conflict("a mapping (restore plan)", "suffix or rename")


def _choose(options: CreateOptions | RestoreOptions, target: str, **given: Chosen | None) -> None:
    """Sets the selection ``target`` from a filter and a filter of exclusions."""
    (filter_name, chosen), (exclude_name, left_out) = given.items()
    selection = getattr(options, target) if chosen is None else selection_of(chosen, filter_name)
    if left_out is not None:
        selection = selection.excluding(selection_of(left_out, exclude_name))
    object.__setattr__(options, target, selection_of(selection, target))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions(Options):
    """No options besides the backup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions(Options):
    """The destination, on the same service; at least one must be given."""

    path: Annotated[
        str,
        Option(
            flags=("--path",),
            metavar="PATH",
            rest="to_path",
            longest=1024,
            help="Root path of the copy.",
            default="same as the original",
        ),
    ] = ""
    bucket: Annotated[
        str,
        Option(
            flags=("--bucket",),
            metavar="NAME",
            rest="to_bucket",
            longest=63,
            help="Bucket of the copy.",
            default="same as the original",
        ),
    ] = ""

    def __post_init__(self) -> None:
        self._check()
        if not self.path and not self.bucket:
            raise UsageError(
                "the copy has no destination",
                code="copy-destination-missing",
                hint="give another path or bucket",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateOptions(Options):
    cluster: Annotated[
        str,
        Option(flags=("--cluster-id", "-c"), metavar="ID", longest=256, help="The target cluster."),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class L0CompactOptions(Options):
    """``output`` empty: ``{name}_l0compacted``."""

    output: Annotated[
        str,
        Option(
            flags=("--output", "-o"),
            metavar="NAME",
            longest=128,
            help="The new backup.",
            default="NAME_l0compacted",
            more="Here `-o` is a name, not a format: use `mbk -o json l0compact`.",
        ),
    ] = ""
    force: Annotated[
        bool,
        Option(
            flags=("--force",),
            help="Replace an existing backup with this name.",
            more="Asks on a terminal; elsewhere it needs `--yes`.",
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyOptions(Options):
    """The ids of the two clusters in the replication."""

    source: Annotated[
        str,
        Option(
            flags=("--source-cluster-id",),
            metavar="ID",
            rest="source_cluster",
            longest=256,
            help="The cluster that was backed up.",
        ),
    ]
    target: Annotated[
        str,
        Option(
            flags=("--target-cluster-id",),
            metavar="ID",
            rest="target_cluster",
            longest=256,
            help="The standby to write to.",
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOptions(Options):
    detail: Annotated[
        bool, Option(flags=("--detail", "-d"), help="Also partitions, segments and their files.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions(Options):
    collection: Annotated[
        str,
        Option(
            flags=("--collection", "-c"),
            metavar="NAME",
            help="Only backups that contain this collection (coll or db.coll).",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions(Options):
    """No options."""
