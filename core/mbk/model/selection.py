"""Which databases and collections a run is about, and what they are called afterwards (PARITY.md 1.1.3, FORMAT.md 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mbk.errors import InvalidName, UsageError
from mbk.model.meta import DEFAULT_DATABASE

_WORD = re.compile(r"\w+")
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
            raise UsageError(f"collection {text!r} is no name", hint="write coll or db.coll")
        return cls(database or DEFAULT_DATABASE, collection)


@dataclass(frozen=True, slots=True)
class Selection:
    """The databases and collections chosen. An empty selection (:attr:`everything`) chooses all.

    ``databases``: whole ones; ``collections``: single ones; ``bare``: the database itself, without collections.
    """

    databases: frozenset[str] = frozenset()
    collections: frozenset[CollectionName] = frozenset()
    bare: frozenset[str] = frozenset()

    @property
    def everything(self) -> bool:
        return not (self.databases or self.collections or self.bare)

    def wants(self, name: CollectionName) -> bool:
        return self.everything or name.database in self.databases or name in self.collections

    def wants_database(self, database: str) -> bool:
        """Whether the database itself belongs to the run, with or without collections."""
        return (
            self.everything
            or database in self.databases
            or database in self.bare
            or any(name.database == database for name in self.collections)
        )

    def __or__(self, other: Selection) -> Selection:
        return Selection(
            self.databases | other.databases, self.collections | other.collections, self.bare | other.bare
        )

    @classmethod
    def parse(cls, text: str) -> Selection:
        """A comma list of ``db.*``, ``db.coll``, ``coll`` and ``db.``; `UsageError` names a bad item."""
        databases, collections, bare = set(), set(), set()
        for item in filter(None, (part.strip() for part in text.split(","))):
            database, dot, rest = item.partition(".")
            if dot and rest == "*" and _WORD.fullmatch(database):
                databases.add(database)
            elif dot and not rest and _WORD.fullmatch(database):
                bare.add(database)
            elif item == "*":
                databases.add(DEFAULT_DATABASE)
            else:
                try:
                    collections.add(CollectionName.parse(item))
                except UsageError:
                    raise UsageError(
                        f"filter item {item!r} is not understood", hint="write db.*, db.coll, coll or db."
                    ) from None
        return cls(frozenset(databases), frozenset(collections), frozenset(bare))

    @classmethod
    def of(cls, chosen: Mapping[str, Iterable[str]]) -> Selection:
        """From ``{db: [coll, …]}``; an empty list or ``["*"]`` means the whole database, ``""`` is ``default``."""
        result = cls()
        for database, names in chosen.items():
            database = database or DEFAULT_DATABASE
            listed = list(names)
            if not listed or "*" in listed:
                result |= cls(databases=frozenset({database}))
            else:
                result |= cls(collections=frozenset(CollectionName(database, name) for name in listed))
        return result


@dataclass(frozen=True, slots=True)
class Renaming:
    """How source names become target names: single rules win over database rules, rules win over the suffix."""

    suffix: str = ""
    collections: Mapping[CollectionName, CollectionName] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.suffix and not _SUFFIX.fullmatch(self.suffix):
            raise InvalidName(f"suffix {self.suffix!r} is not allowed", hint="use letters, digits and _")

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
        """A comma list of ``db1.*:db2.*``, ``db1.c1:db2.c2``, ``c1:c2`` and ``db1.:db2.`` (the last says nothing)."""
        rules = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            source, colon, target = item.partition(":")
            if not colon:
                raise UsageError(f"rename rule {item!r} has no target", hint="write old:new")
            rules[source.strip()] = target.strip()
        return cls.of(rules, suffix=suffix)

    @classmethod
    def of(cls, rules: Mapping[str, str], *, suffix: str = "") -> Renaming:
        """From ``{old: new}``; both sides must have the same form."""
        if rules and suffix:
            raise UsageError("rename and suffix exclude each other", hint="give one of them")
        collections: dict[CollectionName, CollectionName] = {}
        databases: dict[str, str] = {}
        for old, new in rules.items():
            forms = {_form(old), _form(new)}
            if len(forms) != 1:
                raise UsageError(
                    f"rename rule {old}:{new} mixes two forms",
                    hint="write db1.*:db2.*, db1.c1:db2.c2 or c1:c2",
                )
            if forms == {"database"}:
                databases[old[:-2]] = new[:-2]
            elif forms == {"name"}:
                collections[CollectionName.parse(old)] = CollectionName.parse(new)
        targets = list(collections.values())
        if len(set(targets)) != len(targets):
            raise UsageError("two collections would be renamed to one name", hint="give each its own")
        return cls(suffix=suffix, collections=collections, databases=databases)


def _form(text: str) -> str:
    for ending, form in ((".*", "database"), (".", "bare")):
        if text.endswith(ending) and _WORD.fullmatch(text[: -len(ending)]):
            return form
    CollectionName.parse(text)
    return "name"
