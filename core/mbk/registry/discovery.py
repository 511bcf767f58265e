"""The installed plugins, from the metadata of their distributions: nothing is imported here."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, entry_points

DISABLE_VARIABLE = "MBK_DISABLE_PLUGINS"


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

    def extra(self, name: str = "") -> str:
        """What brings the plugin's SDK: an extra of its distribution, or ``""``.

        The extra in the entry point (``acme = "mbk_acme [sdk]"``), otherwise one called ``name``, or like the entry point.
        """
        if self.point.dist is None:
            return ""
        provided = _dist(self.point).metadata.get_all("Provides-Extra") or []
        extras = [*self.point.extras, name or self.name]
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
