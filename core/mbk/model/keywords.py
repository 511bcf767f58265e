"""Options as a program gives them, by keyword: filters and renames as text, a mapping as JSON would give it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from mbk.errors import UsageError
from mbk.model.mapping import DatabaseMapping, parse_mapping
from mbk.model.options import CreateOptions, RestoreOptions, Strategy, parse_skip_params
from mbk.model.selection import Renaming, Selection

Options = TypeVar("Options", CreateOptions, RestoreOptions)


def create_options(options: CreateOptions, changes: dict[str, Any]) -> CreateOptions:
    """``options`` with the changes; `UsageError` for a keyword that is none."""
    _choose(changes, "selection", options.selection)
    if "strategy" in changes:
        changes["strategy"] = _strategy(changes["strategy"])
    return _replaced(options, changes)


def restore_options(options: RestoreOptions, changes: dict[str, Any]) -> RestoreOptions:
    """``options`` with the changes; `UsageError` for a keyword that is none."""
    suffix, rename = changes.pop("suffix", ""), changes.pop("rename", "")
    if suffix or rename:
        make = Renaming.parse if isinstance(rename, str) else Renaming.of
        changes["renaming"] = make(rename, suffix=suffix)
    _choose(changes, "selection", options.selection)
    _choose(changes, "source_selection", options.source_selection, prefix="source_")
    if "mapping" in changes:
        changes["mapping"] = _mapping(changes["mapping"])
    if "skip_params" in changes:
        changes["skip_params"] = parse_skip_params(changes["skip_params"] or {})
    return _replaced(options, changes)


def _mapping(value: Any) -> tuple[DatabaseMapping, ...]:
    if isinstance(value, tuple) and all(isinstance(item, DatabaseMapping) for item in value):
        return value
    return parse_mapping(value)


def _choose(changes: dict[str, Any], field: str, before: Selection, *, prefix: str = "") -> None:
    """``filter`` and ``exclude`` may be text, a mapping of databases to names, or a `Selection`."""
    wanted, left_out = changes.pop(f"{prefix}filter", None), changes.pop(f"{prefix}exclude", None)
    if wanted is not None or left_out is not None:
        chosen = changes.get(field, before) if wanted is None else _selection(wanted)
        changes[field] = chosen.excluding(_selection(left_out or ""))


def _selection(value: str | Mapping[str, Iterable[str]] | Selection) -> Selection:
    if isinstance(value, Selection):
        return value
    return Selection.parse(value) if isinstance(value, str) else Selection.of(value)


def _strategy(text: str) -> Strategy:
    try:
        return Strategy(text)
    except ValueError:
        raise UsageError(f"strategy {text!r} is unknown", hint=f"use one of {', '.join(Strategy)}") from None


def _replaced(options: Options, changes: dict[str, Any]) -> Options:
    try:
        return dataclasses.replace(options, **changes)
    except TypeError as exc:
        known = ", ".join(field.name for field in dataclasses.fields(options))
        raise UsageError(f"{exc.args[0]}", hint=f"the options are {known}") from exc
