"""The installed plugins, from the metadata of their distributions: nothing is imported here."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points

DISABLE_VARIABLE = "MBK_DISABLE_PLUGINS"

_REQUIREMENT = re.compile(
    r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*).*\bextra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]"
)
_EXTRA = re.compile(r"\s*(?P<name>[A-Za-z0-9._-]+)\s*\[\s*(?P<extra>[A-Za-z0-9._-]+)\s*\]")


@dataclass(frozen=True)
class Entry:
    """One entry point: the name that selects it, and its origin."""

    point: EntryPoint

    @property
    def name(self) -> str:
        return self.point.name.lower()

    @property
    def module(self) -> str:
        return self.point.module

    @cached_property
    def distribution(self) -> str:
        return _dist(self.point).name if self.point.dist else ""

    @cached_property
    def version(self) -> str:
        return _dist(self.point).version if self.point.dist else ""

    @property
    def origin(self) -> str:
        """``mbk-acme 1.0``, for messages."""
        return f"{self.distribution} {self.version}".strip() or self.module

    def extra(self) -> str:
        """What to ``pip install`` for the plugin's own imports: an extra of its distribution, or ``""``.

        The extra in the entry point (``acme = "mbk_acme [sdk]"``), otherwise one with the entry point's name.
        """
        if self.point.dist is None:
            return ""
        provided = _dist(self.point).metadata.get_all("Provides-Extra") or []
        extras = [*self.point.extras, self.name]
        return next((f"{self.distribution}[{extra}]" for extra in extras if extra in provided), "")


def _dist(point: EntryPoint) -> Distribution:
    assert point.dist is not None
    return point.dist


def disabled_by_environment() -> frozenset[str]:
    """Entry-point or distribution names in ``MBK_DISABLE_PLUGINS``, comma-separated, as lower case."""
    names = os.environ.get(DISABLE_VARIABLE, "").split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())


def installed(group: str) -> tuple[Entry, ...]:
    """Every entry point of a group, sorted by name."""
    entries = [Entry(point) for point in entry_points(group=group)]
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.module)))


def is_disabled(entry: Entry, disabled: Collection[str]) -> bool:
    return bool(disabled) and (entry.name in disabled or entry.distribution.lower() in disabled)


def packages_of(extra: str) -> tuple[str, ...]:
    """The distributions in an extra (``mbk[gcp]``), from the installed metadata; empty if unknown."""
    match = _EXTRA.match(extra)
    if match is None:
        return ()
    try:
        lines = distribution(match["name"]).requires or []
    except PackageNotFoundError:
        return ()
    matches = (_REQUIREMENT.match(line) for line in lines)
    return tuple(dict.fromkeys(hit["name"] for hit in matches if hit and hit["extra"] == match["extra"]))
