"""The options of each operation. A field is declared here once: flags, REST bodies, keywords and docs follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, get_args

from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.addresses import Address
from mbk.model.declared import Also, Option, Options, conflict, empty_list, unknown_key, wrong_type
from mbk.model.labels import Labels, LabelTest, labels_of, tests_of
from mbk.model.listings import SortKey
from mbk.model.mapping import DatabaseMapping, parse_mapping
from mbk.model.moments import moment_of, passed
from mbk.model.rates import Bandwidth, RequestRate
from mbk.model.reports import check_name
from mbk.model.retention import GRACE, Rules, end_of, grace_of, span_of, zone_of
from mbk.model.selection import Renaming, Selection
from mbk.model.states import Depth

Format = Literal["auto", "binlog", "snapshot"]
#: How copies are compared with their source: by what passes and is told, or by reading every copy back, too.
Checksum = Literal["auto", "full"]
#: The commands that `mbk check` can ask for.
CHECKED = ("all", "create", "restore", "verify", "delete")
#: Where the objects of a copy lie: as those of its source, below its own prefix, or in the pool.
Layout = Literal["same", "classic", "shared"]
#: What a restore compares with the backup's record.
Verify = Literal["auto", "none", "listing", "contents"]
#: What a restore may leave out: properties of the collection, parameters of fields (two places) and of indexes.
SkipKind = Literal["collectionProperties", "fieldIndexParams", "fieldTypeParams", "indexParams"]
SKIP_KINDS: tuple[str, ...] = get_args(SkipKind)

# What keyword arguments accept for the engine's values.
Chosen: TypeAlias = str | Mapping[str, Iterable[str]] | Selection
Renamed: TypeAlias = str | Mapping[str, str]
Mapped: TypeAlias = Iterable[DatabaseMapping] | Iterable[Mapping[str, Any]] | None
Skipped: TypeAlias = Mapping[str, Iterable[str]] | None
Labelled: TypeAlias = Mapping[str, str] | Iterable[str] | None
Labelling: TypeAlias = Iterable[str] | None
StrategyName: TypeAlias = (
    "Strategy | Literal['auto', 'serial_flush', 'bulk_flush', 'skip_flush', 'meta_only']"
)

# Requests and bytes a second, as `RequestRate` and `Bandwidth` read them.
Requests: TypeAlias = float | str | RequestRate | None
Bytes: TypeAlias = str | Iterable[str | Mapping[str, str]] | Bandwidth | None
DepthName: TypeAlias = "Depth | Literal['listing', 'digests', 'contents', 'drill']"

_FILTER = "Comma list of db.*, db.coll, coll, db., coll/part"
_CHOSEN_JSON = str | dict[str, list[str]]


Comparing: TypeAlias = Annotated[
    str,
    Option(
        flags=("--checksum",),
        choices=get_args(Checksum),
        accepts="Checksum",
        help="How copies are compared with their source.",
        more="`auto` compares the digests that the storages tell and those made of what passes through; `full` also reads "
        "every copy back, and its source where that has no digest.",
    ),
]


def request_rate_of(value: object, name: str) -> RequestRate | None:
    """``200``, ``"3000/min"`` or ``"unlimited"``; None for what the configuration says."""
    if value is None or isinstance(value, RequestRate):
        return value
    try:
        return RequestRate.parse("" if isinstance(value, bool) else str(value))
    except ValueError as exc:
        raise _unreadable(name, exc) from exc


def bandwidth_of(value: object, name: str) -> Bandwidth | None:
    """``"50MiB/s"``, ``"08:00-18:00 50MiB/s; unlimited"``, or a list of such and of ``{from, to, limit}``."""
    if value is None or isinstance(value, Bandwidth):
        return value
    try:
        if isinstance(value, str):
            return Bandwidth.parse(value)
        is_list = isinstance(value, Iterable) and not isinstance(value, Mapping)
        return Bandwidth.of(value if is_list else [])  # type: ignore[arg-type]  # is_list says so
    except ValueError as exc:
        raise _unreadable(name, exc) from exc


def _unreadable(name: str, error: ValueError) -> UsageError:
    return UsageError("{option}: {reason}", code="option-unreadable", option=name, reason=str(error))


MaxRate: TypeAlias = Annotated[
    RequestRate | None,
    Option(
        flags=("--max-rate",),
        metavar="N",
        read=request_rate_of,
        json=int | float | str | None,
        accepts="Requests",
        help="Requests a second to each storage.",
        default="transfer.maxRate",
        more="`200`, `3000/min` or `unlimited`, instead of what the configuration says.",
    ),
]
MaxBandwidth: TypeAlias = Annotated[
    Bandwidth | None,
    Option(
        flags=("--max-bandwidth",),
        metavar="RATE",
        read=bandwidth_of,
        json=str | list[str | dict[str, str]] | None,
        accepts="Bytes",
        help="Bytes a second that pass through mbk.",
        default="transfer.maxBandwidth",
        more="`50MiB/s`, `400Mbit/s`, `08:00-18:00 50MiB/s; 200MiB/s` or `unlimited`, instead of what the configuration "
        "says. What the storages copy by themselves is not counted.",
    ),
]


def _tested(flag: str, text: str, more: str = "") -> Option:
    """Labels that a backup must have."""
    return Option(
        flags=(flag,),
        metavar="KEY[=VALUE]",
        many=True,
        read=tests_of,
        json=list[str],
        accepts="Labelling",
        help=text,
        more=more,
    )


def _zone(text: str) -> Option:
    return Option(
        flags=("--time-zone",),
        metavar="ZONE",
        longest=64,
        help=text,
        default="retention.timeZone",
    )


class Strategy(StrEnum):
    """How a backup takes its consistency point (docs/reference/milvus-protocol.md#flush)."""

    AUTO = "auto"
    SERIAL_FLUSH = "serial_flush"
    BULK_FLUSH = "bulk_flush"
    SKIP_FLUSH = "skip_flush"
    META_ONLY = "meta_only"


def selection_of(value: object, name: str) -> Selection:
    """A filter in any of its forms: text, ``{database: [collection, …]}``, or a `Selection`; an empty one is refused."""
    if isinstance(value, Selection):
        return value
    value = named(value, name)
    if isinstance(value, str):
        return Selection.parse(value)
    if (
        not isinstance(value, Mapping)
        or not all(map(_is_list_of_text, value.values()))
        or not _is_list_of_text([*value])
    ):
        raise wrong_type(
            name, value, "a string ('db.coll,db2.*'), a mapping of lists ({'db': ['coll']}) or a Selection"
        )
    return Selection.of(value)


def renaming_of(rename: object, suffix: object) -> Renaming:
    """``rename`` as text or as ``{old: new}``, None for none; an empty one is refused."""
    if not isinstance(suffix, str):
        raise wrong_type("suffix", suffix, "a string")
    if rename is None:
        return Renaming.of({}, suffix=suffix)
    rename = named(rename, "rename")
    if isinstance(rename, str):
        return Renaming.parse(rename, suffix=suffix)
    if not isinstance(rename, Mapping) or not all(
        isinstance(text, str) for pair in rename.items() for text in pair
    ):
        raise wrong_type(
            "rename", rename, "a string ('old:new,db.*:db2.*') or a mapping of strings ({'old': 'new'})"
        )
    return Renaming.of(rename, suffix=suffix)


def address_of(value: object, name: str) -> str:
    """An address of a backup as it is, once it is known to be one."""
    if not isinstance(value, str):
        raise wrong_type(name, value, "a string")
    Address.of_backup(value)
    return value


def named(value: object, name: str) -> object:
    """The value as it is; an empty list is refused."""
    if _is_empty(value):
        raise empty_list(name)
    return value


def mapping_of(value: object, name: str) -> tuple[DatabaseMapping, ...]:
    """A mapping from JSON, or of `DatabaseMapping`s; None or an empty tuple for none. An empty list is refused."""
    if value is None:
        return ()
    if isinstance(value, list) and not value:
        raise empty_list(name)
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


def _is_empty(value: object) -> bool:
    """Whether a list, as text or as a mapping, names nothing."""
    return not value.strip(", \t\r\n") if isinstance(value, str) else isinstance(value, Mapping) and not value


def percent_of(value: object, name: str) -> int:
    """``10``, ``"10"`` or ``"10%"``; None and an empty text mean all."""
    text = str(value).strip().removesuffix("%").strip() if isinstance(value, str | int) else ""
    if value in (None, ""):
        return 100
    if isinstance(value, bool) or not text.isdecimal() or not 1 <= int(text) <= 100:
        raise UsageError(
            "{option} must be a percentage from 1% to 100%",
            code="percentage-invalid",
            option=name,
            hint="write 10%",
        )
    return int(text)


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


@frozen(kw_only=True)
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
            "`auto` is `binlog`, or `snapshot` where segments have manifests, which only Milvus can read.",
        ),
    ] = "auto"
    checksum: Comparing = "auto"
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
    incremental: Annotated[
        bool | None,
        Option(
            flags=("--incremental",),
            off=("--no-incremental",),
            help="Copy only what no earlier incremental backup has.",
            more="Each backup restores by itself, and any can be deleted in any order. The classic tool cannot read it.",
            default="as configured",
        ),
    ] = None
    labels: Annotated[
        Labels,
        Option(
            flags=("--label",),
            metavar="KEY=VALUE",
            many=True,
            read=labels_of,
            json=dict[str, str],
            accepts="Labelled",
            help="A label of the backup; repeatable.",
            more="`mbk list --label KEY=VALUE` finds it, and `mbk prune` keeps or chooses by it.",
        ),
    ] = field(default_factory=dict)
    resume: Annotated[
        bool,
        Option(
            flags=("--resume",),
            rest=None,
            help="Complete an interrupted or partial backup of this name.",
            more="Objects that were copied completely are kept, and so are the options of the run that began it, unless others "
            "are given.",
        ),
    ] = False
    allow_missing: Annotated[
        bool,
        Option(
            flags=("--allow-missing",),
            help="Leave out what the filter names and Milvus does not have.",
            more="Otherwise nothing is backed up, exit code 4.",
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
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None

    def __post_init__(self, filter: Chosen | None, exclude: Chosen | None) -> None:
        self._check()
        _choose(self, "selection", filter=filter, exclude=exclude)


@frozen(kw_only=True)
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
            Renamed | None,
            Option(
                flags=("--rename", "-r"),
                metavar="LIST",
                read=named,
                json=str | dict[str, str],
                help="Comma list of coll:new, db1.coll:db2.new, db1.*:db2.*",
            ),
        ]
    ] = None
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
            help="Replace the target, which stays until the new one is complete.",
            more="Asks on a terminal; elsewhere it needs `--yes`.",
        ),
    ] = False
    skip_create: Annotated[
        bool,
        Option(
            flags=("--skip-create-collection",),
            help="Import into an existing target.",
            more="Excludes `--drop-exist-collection`. Its schema must be the backup's.",
        ),
    ] = False
    append: Annotated[
        bool,
        Option(
            flags=("--append",),
            help="Import again what this backup already added to the target.",
            more="With `--skip-create-collection`: the rows are there twice afterwards.",
        ),
    ] = False
    follow_alias: Annotated[
        bool,
        Option(
            flags=("--follow-alias",),
            help="A target that is an alias stands for its collection.",
            more="Otherwise such a target is refused.",
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
            help="Refuse backups that cannot be cut at their time.",
            more="Rows and deletes newer than the consistency point are left out by default, where mbk recorded the point. "
            "With this option also at the flush times of other backups; one without any is refused.",
            also=(Also(flags=("--truncate-binlog-by-ts",), value=True, help="Same as --at-backup-time."),),
        ),
    ] = False
    verify: Annotated[
        str,
        Option(
            flags=("--verify",),
            choices=get_args(Verify),
            accepts="Verify",
            help="What is compared with the backup's record.",
            more="`listing` compares names, sizes and what the storage tells of contents, `contents` also reads every object, "
            "`auto` only those that the storage does not vouch for; `none` compares nothing.",
        ),
    ] = "auto"
    salvage: Annotated[
        bool,
        Option(
            flags=("--salvage",),
            help="Restore what is whole of a damaged backup.",
            more="Segments that are not whole are left out and listed with their rows; the exit code is 3 then. "
            "Excludes `--drop-exist-collection`.",
        ),
    ] = False
    no_cut: Annotated[
        bool,
        Option(
            flags=("--no-cut",),
            help="Also rows and deletes newer than the consistency point.",
            more="Of a row that was replaced during the backup, both versions or none may be restored.",
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
    at: Annotated[
        datetime | None,
        Option(
            flags=("--at",),
            metavar="TIME",
            read=moment_of,
            json=str | None,
            accepts="datetime | str | None",
            help="The state of this moment: 2026-12-01T05:30:00Z, or 30m ago.",
            more="Without a name, from the backup that comes nearest to it and is not newer; with one, that backup is cut there. "
            "The report says which moment it really is. [How](../how-to/restore-a-point-in-time.md).",
        ),
    ] = None
    time_zone: Annotated[
        str,
        _zone("Of an --at without one: Europe/Berlin, UTC."),
    ] = ""
    labels: Annotated[
        tuple[LabelTest, ...],
        _tested("--label", "With --at: only backups with this label; repeatable.", "All must be there."),
    ] = ()
    fail_fast: Annotated[
        bool, Option(flags=("--fail-fast",), help="Stop at the first collection that fails.")
    ] = False
    dry_run: bool = False
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None

    def __post_init__(
        self,
        filter: Chosen | None,
        exclude: Chosen | None,
        source_filter: Chosen | None,
        source_exclude: Chosen | None,
        suffix: str,
        rename: Renamed | None,
    ) -> None:
        self._check()
        _choose(self, "selection", filter=filter, exclude=exclude)
        _choose(self, "source_selection", source_filter=source_filter, source_exclude=source_exclude)
        if suffix or rename is not None:
            object.__setattr__(self, "renaming", renaming_of(rename, suffix))
        if self.drop_existing and self.skip_create:
            raise conflict("drop_exist_collection", "skip_create_collection")
        if self.drop_existing and self.salvage:
            # What is there may be more than what is left of the backup.
            raise conflict("drop_exist_collection", "salvage")
        if self.drop_existing and self.verify == "none":
            # What replaces the collection must be known to be whole.
            raise conflict("drop_exist_collection", "verify none")
        if self.truncate and self.no_cut:
            raise conflict("truncate", "no_cut")
        if self.mapping and self.renaming != Renaming():
            raise conflict("a mapping (restore plan)", "suffix or rename")
        self._check_moment()

    def _check_moment(self) -> None:
        if self.time_zone:
            zone_of(self.time_zone, "time_zone")
        if self.at is None:
            for option in ("time_zone", "labels"):
                if getattr(self, option):
                    raise UsageError(
                        "{option} says nothing without a moment",
                        code="option-without-moment",
                        option=option,
                        hint="add --at TIME, or leave it out",
                    )
            return
        for option in ("truncate", "no_cut"):
            if getattr(self, option):
                raise conflict("at", option)
        if self.at.tzinfo:
            self.moment(UTC)

    @property
    def finds_backup(self) -> bool:
        return self.at is not None

    def moment(self, configured: tzinfo) -> datetime | None:
        """``at`` in UTC, in whole milliseconds. ``configured``: the zone of one that has none, unless ``time_zone`` says another."""
        if self.at is None:
            return None
        zone = zone_of(self.time_zone, "time_zone") if self.time_zone else configured
        return passed(self.at, zone, "at", datetime.now(UTC))


def _choose(options: CreateOptions | RestoreOptions, target: str, **given: Chosen | None) -> None:
    """Sets the selection ``target`` from a filter and a filter of exclusions."""
    (filter_name, chosen), (exclude_name, left_out) = given.items()
    selection = getattr(options, target) if chosen is None else selection_of(chosen, filter_name)
    if left_out is not None:
        selection = selection.excluding(selection_of(left_out, exclude_name))
    object.__setattr__(options, target, selection_of(selection, target))


@frozen(kw_only=True)
class DeleteOptions(Options):
    versions: Annotated[
        bool,
        Option(
            flags=("--versions",),
            help="Also old versions, in a bucket that keeps them.",
            more="Also of a backup that was deleted before. Otherwise a notice says that they remain.",
        ),
    ] = False
    remnants: Annotated[
        bool,
        Option(
            flags=("--remnants",),
            help="Also if there is only data without metadata.",
            more="An interrupted `create` of the Go tool left it. Deletes `binlogs/{insert_log,delta_log}/` with ids below it, "
            "and nothing else.",
        ),
    ] = False
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None


@frozen(kw_only=True)
class UndeleteOptions(Options):
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None


@frozen(kw_only=True)
class GcOptions(Options):
    """``grace``: younger objects stay, also those that no backup names."""

    grace: Annotated[
        timedelta,
        Option(
            flags=("--grace",),
            metavar="SPAN",
            read=grace_of,
            json=str | None,
            accepts="timedelta | str | None",
            help="Leave what is younger: 12h, 2d.",
            default="1 day",
            more="By the clock of the storage.",
        ),
    ] = GRACE
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None


@frozen(kw_only=True)
class CopyOptions(Options):
    """The destination; at least one must be given. ``path`` and ``bucket`` are for one that is no URL."""

    to: Annotated[
        str,
        Option(
            plain=True,
            metavar="DEST",
            read=address_of,
            longest=2048,
            help="Where the copy goes: a new name, a URL or a directory.",
            default="the same name, at --path or --bucket",
            more="As [addresses](#addresses) are written. One that ends with `/` is what the copy lies in, under the name of "
            "the backup; otherwise the last element is the name of the copy.",
        ),
    ] = ""
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
    layout: Annotated[
        str,
        Option(
            flags=("--layout",),
            choices=get_args(Layout),
            accepts="Layout",
            help="How the copy is laid out.",
            more="`classic` has all its objects for itself, and the Go tool reads it; `shared` has them in the pool of the "
            "destination, and only those that lack there are copied.",
        ),
    ] = "same"
    checksum: Comparing = "auto"
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None

    def __post_init__(self) -> None:
        self._check()
        if not self.to and not self.path and not self.bucket:
            raise UsageError(
                "the copy has no destination",
                code="copy-destination-missing",
                hint="give a new name, a URL such as SCHEME://BUCKET/PATH/, a directory such as ./backups/, or another path "
                "or bucket",
            )
        address = self.destination
        if address.scheme and (self.path or self.bucket):
            raise conflict("a URL as the destination", "path or bucket")
        if address.name:
            check_name(address.name)

    @property
    def destination(self) -> Address:
        return Address.of_backup(self.to)

    def names(self, backup: str) -> tuple[str, str]:
        """The name of the backup that is copied, given by its address, and that of the copy. `UsageError` without one."""
        source = Address.of_backup(backup).without_slash.name
        if not source:
            raise UsageError(
                "{address!r} names no backup",
                code="address-without-name",
                address=backup,
                hint="put the name of one behind it",
            )
        return source, self.destination.name or source


@frozen(kw_only=True)
class ImportOptions(Options):
    checksum: Comparing = "auto"
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None


@frozen(kw_only=True)
class LsOptions(Options):
    where: Annotated[
        str,
        Option(
            plain=True,
            metavar="PLACE",
            help="What to list.",
            default="the backups",
            more="As [addresses](#addresses) are written, with a path below a backup, too: `nightly/meta`.",
        ),
    ] = ""
    recursive: Annotated[
        bool,
        Option(flags=("--recursive", "-r"), help="All objects below it, not only the next level."),
    ] = False
    totals: Annotated[
        bool,
        Option(
            flags=("--long", "-l"),
            help="Also objects, bytes and the newest time of each directory.",
            more="All of it is listed for that, with one request for about 1,000 objects.",
        ),
    ] = False


@frozen(kw_only=True)
class MigrateOptions(Options):
    cluster: Annotated[
        str,
        Option(flags=("--cluster-id", "-c"), metavar="ID", longest=256, help="The target cluster."),
    ]


@frozen(kw_only=True)
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
    checksum: Comparing = "auto"


@frozen(kw_only=True)
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


@frozen(kw_only=True)
class VerifyOptions(Options):
    """``sample``: percent of the objects to read; another part every day. ``record``: make the record of objects."""

    depth: Annotated[
        Depth,
        Option(
            flags=("--depth",),
            accepts="DepthName",
            help="How deep to look.",
            more="`listing` compares names and sizes, `digests` also what the storage tells of the bytes, without reading "
            "any; `contents` reads every byte, compares it with the record and parses it; `drill` restores into a "
            "scratch database of Milvus, counts and compares rows, and removes it again.",
        ),
    ] = Depth.DIGESTS
    sample: Annotated[
        int,
        Option(
            flags=("--sample",),
            metavar="PERCENT",
            read=percent_of,
            json=int | str,
            accepts="int | str",
            help="Read only this part of the contents, another one every day.",
            default="100%",
            more="`--sample 10%` every day has read everything after ten days.",
        ),
    ] = 100
    record: Annotated[
        bool,
        Option(
            flags=("--record",),
            help="Read the backup once and write the record of objects that it lacks.",
            more="For backups of the Go tool and of older versions; implies `--depth contents`.",
        ),
    ] = False
    max_rate: MaxRate = None
    max_bandwidth: MaxBandwidth = None

    def __post_init__(self) -> None:
        self._check()
        if self.record and self.depth in (Depth.LISTING, Depth.DRILL):
            raise conflict("record", f"depth {self.depth}")
        if self.record and self.sample != 100:
            raise conflict("record", "sample")
        if self.record:
            object.__setattr__(self, "depth", Depth.CONTENTS)
        if self.sample != 100 and self.depth is not Depth.CONTENTS:
            raise UsageError(
                "sample is a part of the contents, and depth is {depth}",
                code="sample-without-contents",
                depth=self.depth,
                hint="use --depth contents",
            )


@frozen(kw_only=True)
class GetOptions(Options):
    detail: Annotated[
        bool, Option(flags=("--detail", "-d"), help="Also partitions, segments and their files.")
    ] = False


@frozen(kw_only=True)
class ListOptions(Options):
    collection: Annotated[
        str,
        Option(
            flags=("--collection", "-c"),
            metavar="NAME",
            help="Only backups that contain this collection (coll or db.coll).",
        ),
    ] = ""
    labels: Annotated[
        tuple[LabelTest, ...],
        _tested("--label", "Only backups with this label; repeatable, and all must be there."),
    ] = ()
    since: Annotated[
        str,
        Option(
            flags=("--since",),
            metavar="AGE",
            help="Only backups begun since then: 36h, 7d, 2w, or a date such as 2026-11-30.",
            more="A date is in UTC and may have a time: `2026-11-30T02:00`. Backups of an unknown time are left out.",
        ),
    ] = ""
    latest: Annotated[
        int | None,
        Option(
            flags=("--latest",),
            metavar="[N]",
            bare=1,
            minimum=1,
            help="Only the newest complete backup, or the N newest.",
            more="Of those that the other options leave. `mbk list --latest -q` prints its name.",
        ),
    ] = None
    sort: Annotated[
        str,
        Option(
            flags=("--sort",),
            choices=get_args(SortKey),
            accepts="SortKey",
            help="How they are sorted.",
            default="name",
            more="By name from a to z, by anything else the newest, longest or largest first; what is unknown comes last.",
        ),
    ] = "name"


@frozen(kw_only=True)
class CheckOptions(Options):
    command: Annotated[
        str,
        Option(
            flags=("--for",),
            choices=CHECKED,
            default="all",
            help="Ask only for what this command needs.",
            more="What it only reads is only read, by an object that is there. "
            "[The policies](../how-to/grant-only-what-is-needed.md) for each of them.",
        ),
    ] = "all"


@frozen(kw_only=True)
class PinOptions(Options):
    until: Annotated[
        datetime | None,
        Option(
            flags=("--until",),
            metavar="DATE",
            read=end_of,
            json=str | None,
            accepts="datetime | str | None",
            help="When it may go again: 2027-06-30, or 90d from now.",
            default="never",
            more="A date is in UTC and may have a time: `2027-06-30T12:00`.",
        ),
    ] = None
    reason: Annotated[
        str, Option(flags=("--reason",), metavar="TEXT", longest=256, help="Why, for whoever wonders.")
    ] = ""
    remove: Annotated[bool, Option(flags=("--remove",), help="Let the backup go again.")] = False

    def __post_init__(self) -> None:
        self._check()
        if self.remove and (self.until or self.reason):
            raise conflict("remove", "until or reason")


def _kept(period: str, what: str) -> Option:
    return Option(
        flags=(f"--keep-{period}",),
        metavar="N",
        minimum=0,
        maximum=100_000,
        help=f"Keep {what}.",
        default="0",
    )


@frozen(kw_only=True)
class PruneOptions(Options):
    """With any ``keep`` the configured rules do not count. ``labels``: only backups that have all of them are looked at. ``only``: the
    names of those that may go, as a plan told them; None: any."""

    keep_last: Annotated[int, _kept("last", "the newest N")] = 0
    keep_within: Annotated[
        timedelta,
        Option(
            flags=("--keep-within",),
            metavar="SPAN",
            read=span_of,
            json=str | None,
            accepts="timedelta | str | None",
            help="Keep all that are not older: 12h, 30d, 8w, 6m, 2y.",
            default="none",
            more="Counted from the newest complete backup, so that nothing goes because backups stopped or a clock jumped.",
        ),
    ] = timedelta()
    keep_hourly: Annotated[int, _kept("hourly", "the newest of each of N hours")] = 0
    keep_daily: Annotated[int, _kept("daily", "the newest of each of N days")] = 0
    keep_weekly: Annotated[int, _kept("weekly", "the newest of each of N weeks")] = 0
    keep_monthly: Annotated[int, _kept("monthly", "the newest of each of N months")] = 0
    keep_yearly: Annotated[int, _kept("yearly", "the newest of each of N years")] = 0
    keep_labels: Annotated[
        tuple[LabelTest, ...],
        _tested("--keep-label", "Keep all with this label; repeatable."),
    ] = ()
    labels: Annotated[
        tuple[LabelTest, ...],
        _tested(
            "--filter",
            "Look only at backups with this label; repeatable, and all must be there.",
            "The others stay, and do not count.",
        ),
    ] = ()
    time_zone: Annotated[
        str,
        _zone("Where days begin: Europe/Berlin, UTC."),
    ] = ""
    versions: Annotated[
        bool,
        Option(
            flags=("--versions",),
            help="Also old versions, in a bucket that keeps them.",
            more="Without it such a bucket frees nothing, and a notice says that they remain.",
        ),
    ] = False
    only: frozenset[str] | None = None

    def __post_init__(self) -> None:
        self._check()
        if self.time_zone:
            zone_of(self.time_zone, "time_zone")
        if self.only is not None and not isinstance(self.only, frozenset):
            raise wrong_type("only", self.only, "a frozenset of names")

    def confirmed(self, backups: Iterable[str]) -> PruneOptions:
        return replace(self, only=frozenset(backups))

    def rules(self, configured: Rules) -> Rules:
        """Those of the options; without any, the configured ones."""
        zone = zone_of(self.time_zone, "time_zone") if self.time_zone else configured.zone
        rules = Rules(
            last=self.keep_last,
            within=self.keep_within,
            hourly=self.keep_hourly,
            daily=self.keep_daily,
            weekly=self.keep_weekly,
            monthly=self.keep_monthly,
            yearly=self.keep_yearly,
            labels=self.keep_labels,
            zone=zone,
        )
        return replace(configured, zone=zone) if rules.keep_nothing else rules
