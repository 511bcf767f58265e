"""The layers of the configuration, lowest first: file, environment, ``--set``, flags. The highest one wins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import SecretStr

from mbk.config import parse as p
from mbk.config.keys import KEYS, Dialect, Name
from mbk.config.source import VERSION_KEY, Flat
from mbk.errors import Problem
from mbk.frozen import frozen

Source = Literal["default", "inherited", "file", "environment", "set", "flag"]


#: Sections in which an unknown key is an error: a rule that is not read keeps nothing, and what it was to keep is deleted; a lock
#: that is not read locks nothing.
_EXACT = re.compile(r"(retention|(backup|profiles\.[^.]+)\.objectlock)\.")


@frozen
class Origin:
    """Where a setting comes from: the layer, and the key as the user wrote it (``""`` for a default)."""

    source: Source
    key: str


@frozen
class Given:
    """One setting of a layer, before parsing."""

    origin: Origin
    raw: p.Raw = field(repr=False)
    parser: p.Parser


@dataclass(slots=True)
class Layers:
    """``given``: target to the value of the highest layer. ``foreign``: keys of the file that only the other dialect has."""

    dialect: Dialect
    other: Dialect
    given: dict[str, Given] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def put(self, name: Name, source: Source, key: str, raw: p.Raw) -> None:
        self.given[name.target] = Given(Origin(source, key), raw, name.parser)

    def add_file(self, flat: Flat, where: str) -> None:
        self.problems += flat.problems
        for key in flat.unknown:
            if _EXACT.match(f"{key.lower()}."):
                self.problems.append(Problem(key, "unknown key", self._suggestion(key)))
            elif self._here(key) is None:
                self._ignore(key, where)
            else:
                self.foreign.append(key)
        written = {key.lower(): key for key in flat.values}
        for name in self.dialect.names:
            keys = [written[key.lower()] for key in name.keys if key.lower() in written]
            if not keys:
                continue
            self.put(name, "file", keys[0], flat.values[keys[0]])
            for key in keys[1:]:
                if flat.values[key] != flat.values[keys[0]]:
                    self.warnings.append(f"{where}: {key}: ignored, {keys[0]} has another value")

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """An empty variable counts as unset. A Kubernetes service link is neither a port nor an address."""
        for env, name in self.dialect.by_env.items():
            value = environ.get(env, "")
            if not value:
                continue
            if env.endswith(("_PORT", "_ADDRESS")) and re.match(r"(tcp|udp|sctp)://", value):
                self.warnings.append(
                    f"environment variable {env} contains a Kubernetes service link ({p.masked_url(value)}), not a setting: "
                    f"ignored (set {name.key} in the file, or enableServiceLinks: false in the pod)"
                )
                continue
            self.put(name, "environment", env, value)
        self._warn_of_other_dialect(environ)

    def _warn_of_other_dialect(self, environ: Mapping[str, str]) -> None:
        """Credentials in variables of the other dialect are not read, which a user who migrates must know."""
        for env, other in self.other.by_env.items():
            here = self.dialect.by_target.get(other.target)
            is_unused = environ.get(env) and env not in self.dialect.by_env and other.target not in self.given
            if is_unused and here and here.env:
                self.warnings.append(
                    f"environment variable {env} belongs to configuration {self.other.version}: ignored, "
                    f"use {here.env} in {self.dialect.version}"
                )

    def add_sets(self, sets: Sequence[str]) -> None:
        for text in sets:
            for number, item in enumerate(_split(text)):
                self._add_set(item, first=number == 0)

    def _add_set(self, item: str, *, first: bool) -> None:
        """Text after a comma may be part of a password: it is not printed unless it is a known key."""
        key, equals, value = item.partition("=")
        key = key.strip()
        comma = "write a comma inside a value as \\,"
        name = self.dialect.by_key.get(key.lower()) or self.dialect.by_env.get(key)
        if not equals or not key:
            self.problems.append(Problem("--set", "expected KEY=VALUE", None if first else comma))
        elif name is not None:
            self.put(name, "set", key, value)
        elif first:
            self.problems.append(Problem(f"--set {key}", "unknown key", self._suggestion(key)))
        else:
            near = self._suggestion(key)
            self.problems.append(
                Problem("--set", "unknown key after a comma", f"{near}; {comma}" if near else comma)
            )

    def add_overrides(self, overrides: Mapping[str, object]) -> None:
        """Keys of the dialect, or targets (``milvus.port``, ``backup_storage.bucket``); None counts as unset."""
        for key, value in overrides.items():
            if value is None:
                continue
            name = self.dialect.by_key.get(key.lower())
            if name is not None:
                self.put(name, "flag", key, _raw(value))
            elif key in KEYS:
                self.given[key] = Given(Origin("flag", key), _raw(value), KEYS[key].parse)
            else:
                self.problems.append(Problem(key, "unknown setting", self._suggestion(key)))

    def add_types(self, storage: str | None, backup_storage: str | None) -> None:
        """``storage``: the type of both sides; ``backup_storage``: the type of the backup side."""
        for target, key, value in (
            ("storage.type", "--storage", storage),
            ("backup_storage.type", "--storage", storage),
            ("backup_storage.type", "--backup-storage", backup_storage),
        ):
            if value:
                self.given[target] = Given(Origin("flag", key), value, KEYS[target].parse)

    def refuse_foreign(self, where: str) -> None:
        """To be called after all layers. What the file says of places and logins by keys of the other dialect, and nothing
        else says, is a problem: defaults would silently take its place. The rest is ignored, with a warning.
        """
        lost = [key for key in self.foreign if self._is_needed(key)]
        for key in self.foreign:
            if key not in lost:
                self._ignore(key, where)
        if lost:
            here = ", ".join(name.key for name in map(self._here, lost) if name)
            self.problems.append(Problem(", ".join(lost), *self._misplaced(here)))

    def _is_needed(self, key: str) -> bool:
        name = self._here(key)
        if name is None or name.target in self.given:
            return False
        return KEYS[name.target].side is not None or name.target.startswith("milvus.")

    def _misplaced(self, here: str) -> tuple[str, str]:
        """What is wrong with keys of the other dialect, and what to do; ``here``: their names in this one."""
        if self.dialect.version == "v2":
            return (
                f"of configuration v1, but {VERSION_KEY} says v2",
                f"remove {VERSION_KEY}, after which mbk config migrate translates the file, or write {here}",
            )
        return (
            f"of configuration v2, but the file has no {VERSION_KEY}",
            f"begin it with {VERSION_KEY}: v2, or write {here}",
        )

    def _ignore(self, key: str, where: str) -> None:
        self.warnings.append(f"{where}: {key}: unknown key, ignored{_in_brackets(self._suggestion(key))}")

    def _here(self, key: str) -> Name | None:
        """This dialect's name of what ``key`` is in the other one."""
        other = self.other.by_key.get(key.lower())
        return self.dialect.by_target.get(other.target) if other else None

    def parsed(self) -> dict[str, Any]:
        """Target to value, for everything that is set; values that cannot be parsed are problems. Secrets are wrapped."""
        values: dict[str, Any] = {}
        for target, given in self.given.items():
            try:
                value = p.parse(given.parser, given.raw)
            except ValueError as exc:
                self.problems.append(Problem(self.shown_key(target), str(exc)))
                continue
            if value is not None:
                values[target] = SecretStr(value) if KEYS[target].secret else value
        return values

    def shown_key(self, target: str) -> str:
        """The key under which a problem with ``target`` is reported."""
        given = self.given.get(target)
        if given is None:
            name = self.dialect.by_target.get(target)
            return name.key if name else target
        return f"--set {given.origin.key}" if given.origin.source == "set" else given.origin.key

    def _suggestion(self, key: str) -> str | None:
        other = self.other.by_key.get(key.lower()) or self.other.by_env.get(key)
        if other is not None and other.target in self.dialect.by_target:
            here = self.dialect.by_target[other.target]
            name = here.key if key.lower() in self.other.by_key else here.env or here.key
            return f"it belongs to configuration {self.other.version}; use {name} in {self.dialect.version}"
        nearest = self.dialect.nearest(key)
        return f"did you mean {nearest}?" if nearest else None


def _split(text: str) -> list[str]:
    """At commas; ``\\,`` is a comma inside a value."""
    return [piece.replace("\\,", ",") for piece in re.split(r"(?<!\\),", text)]


def _raw(value: object) -> p.Raw:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list | tuple):
        return tuple(item if isinstance(item, Mapping) else str(item) for item in value)
    return str(value)


def _in_brackets(text: str | None) -> str:
    return f" ({text})" if text else ""
