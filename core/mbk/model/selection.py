"""Which databases, collections and partitions a run covers, and what they are renamed to.

See docs/reference/cli.md#filters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from mbk.errors import InvalidName, UsageError
from mbk.frozen import frozen
from mbk.model.declared import conflict
from mbk.model.records import DEFAULT_DATABASE

#: Milvus allows a dollar in names, too (its proxy.nameValidation.allowedChars).
_WORD = re.compile(r"[\w$]+")
#: A name with globs; a set in brackets contains letters, digits, ``_`` and ranges.
_GLOB = re.compile(r"(?:[\w$*?]|\[!?[\w-]+\])+")
_SUFFIX = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True, order=True)
class CollectionName:
    """A collection with its database. Prints as ``db.coll``."""

    database: str
    collection: str

    def __str__(self) -> str:
        return f"{self.database}.{self.collection}"

    @classmethod
    def parse(cls, text: str) -> CollectionName:
        """``db.coll`` or ``coll`` (default database); `UsageError` for anything else."""
        database, dot, collection = text.strip().rpartition(".")
        if not _WORD.fullmatch(collection) or (dot and not _WORD.fullmatch(database)):
            raise UsageError(
                "{name!r} is not a valid collection name",
                code="collection-name-invalid",
                name=text,
                hint="write coll or db.coll",
            )
        return cls(database or DEFAULT_DATABASE, collection)


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One item of a filter, each part a name or a glob. ``collection`` ``""`` is the database without collections."""

    database: str
    collection: str
    partition: str = "*"

    def __str__(self) -> str:
        head = f"{self.database}.{self.collection}"
        return head if self.partition == "*" else f"{head}/{self.partition}"

    def matches(self, name: CollectionName) -> bool:
        return (
            self.collection != ""
            and fnmatchcase(name.database, self.database)
            and fnmatchcase(name.collection, self.collection)
        )

    @property
    def is_whole(self) -> bool:
        """Whether it selects whole databases."""
        return self.collection == "*" and self.partition == "*"

    @classmethod
    def parse(cls, text: str) -> Item:
        """``db.*``, ``db.coll``, ``coll``, ``db.`` and ``coll/part``, with globs anywhere; `UsageError` for anything else."""
        head, dot, _ = text.partition("/")[0].partition(".")
        if dot:
            return cls._made(head, text[len(head) + 1 :], text)
        return cls._made(DEFAULT_DATABASE, text, text, bare=False)

    @classmethod
    def of(cls, database: str, name: str) -> Item:
        """``name`` is ``coll``, ``coll/part`` or empty for the database alone; `UsageError` for anything else."""
        return cls._made(database, name, f"{database}.{name}")

    @classmethod
    def _made(cls, database: str, name: str, text: str, *, bare: bool = True) -> Item:
        collection, slash, partition = name.partition("/")
        parts = [database, *([partition] if slash else []), *([] if bare and not name else [collection])]
        if not all(map(_GLOB.fullmatch, parts)):
            raise UsageError(
                "invalid filter item {item!r}",
                code="filter-item-invalid",
                item=text,
                hint="write db.*, db.coll, coll, db. or coll/partition; names may contain *, ? and [ab]",
            )
        return cls(database, collection, partition or "*")


@frozen
class Selection:
    """The selected databases, collections and partitions. Without anything to include it selects all.

    ``databases``: whole ones; ``collections``: single ones; ``bare``: the database itself, without collections;
    ``items``: those with globs or partitions. ``excluded`` is removed from all that.
    """

    databases: frozenset[str] = frozenset()
    collections: frozenset[CollectionName] = frozenset()
    bare: frozenset[str] = frozenset()
    items: frozenset[Item] = frozenset()
    excluded: Selection | None = None

    @property
    def everything(self) -> bool:
        return self._includes_all and self.excluded is None

    @property
    def _includes_all(self) -> bool:
        return not (self.databases or self.collections or self.bare or self.items)

    @property
    def text(self) -> str:
        """What it includes, as `parse` reads it; empty if that is all. Without what is excluded."""
        items = [Item(name, "*") for name in self.databases] + [Item(name, "") for name in self.bare]
        items += [Item(name.database, name.collection) for name in self.collections]
        return ",".join(sorted(map(str, (*items, *self.items))))

    def only(self, names: Iterable[CollectionName]) -> Selection:
        """What it selects of these collections, at least one, of which it wants each."""
        whole, parts = set(), set()
        for name in names:
            if self._of_partitions(name) and not self._has(name, whole=True):
                parts |= {
                    Item(name.database, name.collection, i.partition) for i in self.items if i.matches(name)
                }
            else:
                whole.add(name)
        return Selection(collections=frozenset(whole), items=frozenset(parts), excluded=self.excluded)

    # -- what the run covers ---------------------------------------------------------------------------------------

    def wants(self, name: CollectionName) -> bool:
        """Whether the collection, or a partition of it, is selected."""
        if self.excluded is not None and self.excluded._has(name, whole=True):
            return False
        return self._includes_all or self._has(name)

    def wants_partition(self, name: CollectionName, partition: str) -> bool:
        if self.excluded is not None and self.excluded._has(name, partition):
            return False
        return self._includes_all or self._has(name, partition)

    def wants_database(self, database: str) -> bool:
        """Whether the run may cover the database or a collection in it."""
        if self.excluded is not None and self.excluded._has_database(database):
            return False
        return (
            self._includes_all
            or database in self.databases
            or database in self.bare
            or any(name.database == database for name in self.collections)
            or any(fnmatchcase(database, item.database) for item in self.items)
        )

    def wants_empty(self, database: str) -> bool:
        """Whether the run covers the database even without any of its collections."""
        return self.wants_database(database) and (
            self._includes_all or database in self.bare or self._has_database(database, bare=True)
        )

    def narrows(self, name: CollectionName) -> bool:
        """Whether the filter names single partitions of this collection."""
        if self.excluded is not None and self.excluded._of_partitions(name):
            return True
        return self._of_partitions(name) and not self._has(name, whole=True)

    def _has(self, name: CollectionName, partition: str | None = None, *, whole: bool = False) -> bool:
        """Whether the items include it; ``partition`` None: any partition, with ``whole`` all of them."""
        if name.database in self.databases or name in self.collections:
            return True
        return any(
            item.matches(name)
            and (item.partition == "*" or not whole)
            and (partition is None or fnmatchcase(partition, item.partition))
            for item in self.items
        )

    def _has_database(self, database: str, *, bare: bool = False) -> bool:
        return database in self.databases or any(
            fnmatchcase(database, item.database)
            for item in self.items
            if item.is_whole or (bare and not item.collection)
        )

    def _of_partitions(self, name: CollectionName) -> bool:
        return any(item.partition != "*" and item.matches(name) for item in self.items)

    # -- what must exist -------------------------------------------------------------------------------------------

    @property
    def named(self) -> frozenset[CollectionName]:
        """The collections that are named individually, with or without partitions."""
        single = {CollectionName(i.database, i.collection) for i in self.items if _is_name(i.collection)}
        names = self.collections | {name for name in single if _is_name(name.database)}
        return frozenset(name for name in names if self.wants(name))

    @property
    def named_databases(self) -> frozenset[str]:
        return frozenset(name for name in self.databases | self.bare if self.wants_database(name))

    def named_partitions(self, name: CollectionName) -> frozenset[str]:
        """The partitions of this collection that are named individually."""
        items = (
            item
            for item in self.items
            if (item.database, item.collection) == (name.database, name.collection)
        )
        return frozenset(
            item.partition
            for item in items
            if _is_name(item.partition) and self.wants_partition(name, item.partition)
        )

    def idle(self, databases: Iterable[str], names: Iterable[CollectionName]) -> list[str]:
        """The globs and exclusions that match none of ``databases`` and ``names``, as they were written."""
        databases, names = set(databases), set(names)
        globs = {item for item in self.items if not _is_single(item)}
        excluded = self.excluded
        if excluded is not None:
            globs |= excluded.items | {Item(database, "*") for database in excluded.databases}
            globs |= {Item(name.database, name.collection) for name in excluded.collections}
        return sorted(
            str(item)
            for item in globs
            if not any(map(item.matches, names))
            and not any(
                fnmatchcase(name, item.database) for name in databases if item.collection in ("", "*")
            )
        )

    # -- construction ----------------------------------------------------------------------------------------------

    @classmethod
    def parse(cls, text: str, *, exclude: str = "") -> Selection:
        """A comma list of ``db.*``, ``db.coll``, ``coll``, ``db.`` and ``coll/part``; `UsageError` names a bad item.

        Names may contain ``*``, ``?``, ``[ab]`` and ``[!ab]``; ``*`` alone is the default database.
        ``exclude`` is such a list of what to exclude.
        """
        selection = cls._of_items(map(Item.parse, filter(None, (part.strip() for part in text.split(",")))))
        return selection.excluding(cls.parse(exclude)) if exclude else selection

    @classmethod
    def of(cls, chosen: Mapping[str, Iterable[str]]) -> Selection:
        """From ``{db: [coll, …]}``; an empty list or ``["*"]`` means the whole database, ``""`` is ``default``."""
        items = []
        for database, names in chosen.items():
            database = database or DEFAULT_DATABASE
            items += [Item.of(database, name) for name in list(names) or ["*"]]
        return cls._of_items(items)

    @classmethod
    def _of_items(cls, items: Iterable[Item]) -> Selection:
        databases, collections, bare, rest = set(), set(), set(), set()
        for item in items:
            if not _is_name(item.database):
                rest.add(item)
            elif item.is_whole:
                databases.add(item.database)
            elif not item.collection:
                bare.add(item.database)
            elif item.partition == "*" and _is_name(item.collection):
                collections.add(CollectionName(item.database, item.collection))
            else:
                rest.add(item)
        return cls(frozenset(databases), frozenset(collections), frozenset(bare), frozenset(rest))

    def excluding(self, other: Selection) -> Selection:
        """This selection without what ``other`` includes; an ``other`` that includes nothing excludes nothing."""
        if other.bare or any(not item.collection for item in other.items):
            raise UsageError(
                "a database cannot be excluded without its collections",
                code="database-not-excludable",
                hint="write db.*",
            )
        if other._includes_all:
            return self
        left_out = replace(other, excluded=None)
        if self.excluded is not None:
            left_out = Selection(
                self.excluded.databases | other.databases,
                self.excluded.collections | other.collections,
                items=self.excluded.items | other.items,
            )
        return replace(self, excluded=left_out)


def _is_name(text: str) -> bool:
    return _WORD.fullmatch(text) is not None


def _is_single(item: Item) -> bool:
    return _is_name(item.database) and _is_name(item.collection)


@frozen
class Renaming:
    """How source names become target names. Rules for collections win over rules for databases; a suffix excludes rules."""

    suffix: str = ""
    collections: Mapping[CollectionName, CollectionName] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.suffix and not _SUFFIX.fullmatch(self.suffix):
            raise InvalidName(
                "invalid suffix {suffix!r}",
                code="suffix-invalid",
                suffix=self.suffix,
                hint="use letters, digits and _",
            )

    def collection(self, name: CollectionName) -> CollectionName:
        if name in self.collections:
            return self.collections[name]
        if name.database in self.databases:
            return CollectionName(self.databases[name.database], name.collection)
        return CollectionName(name.database, name.collection + self.suffix)

    def database(self, name: str) -> str:
        return self.databases.get(name, name)

    @classmethod
    def parse(cls, text: str = "", *, suffix: str = "") -> Renaming:
        """A comma list of ``db1.*:db2.*``, ``db1.c1:db2.c2``, ``c1:c2`` and ``db1.:db2.`` (the last has no effect)."""
        rules = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            source, colon, target = item.partition(":")
            if not colon:
                raise UsageError(
                    "rename rule {rule!r} has no target",
                    code="rename-target-missing",
                    rule=item,
                    hint="write old:new",
                )
            rules[source.strip()] = target.strip()
        return cls.of(rules, suffix=suffix)

    @classmethod
    def of(cls, rules: Mapping[str, str], *, suffix: str = "") -> Renaming:
        """From ``{old: new}``; both sides must have the same form."""
        if rules and suffix:
            raise conflict("rename", "suffix")
        collections: dict[CollectionName, CollectionName] = {}
        databases: dict[str, str] = {}
        for old, new in rules.items():
            forms = {_form(old), _form(new)}
            if len(forms) != 1:
                raise UsageError(
                    "rename rule {old}:{new} has different forms on both sides",
                    code="rename-rule-mixed",
                    old=old,
                    new=new,
                    hint="write db1.*:db2.*, db1.c1:db2.c2 or c1:c2",
                )
            if forms == {"database"}:
                databases[old[:-2]] = new[:-2]
            elif forms == {"name"}:
                collections[CollectionName.parse(old)] = CollectionName.parse(new)
        targets = list(collections.values())
        if len(set(targets)) != len(targets):
            raise UsageError(
                "several collections would be renamed to {target}",
                code="rename-target-ambiguous",
                target=max(targets, key=targets.count),
                hint="give each its own name",
            )
        return cls(suffix=suffix, collections=collections, databases=databases)


def _form(text: str) -> str:
    for ending, form in ((".*", "database"), (".", "bare")):
        if text.endswith(ending) and _WORD.fullmatch(text[: -len(ending)]):
            return form
    CollectionName.parse(text)
    return "name"
