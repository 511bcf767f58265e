"""The section ``schedules``: names, each with what a server does by itself. Only its form is looked at here.

Its keys may be written as those of the rest of the file (``keepDaily``) or as those of the REST API (``keep_daily``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mbk.config.source import SCHEDULES
from mbk.errors import Problem

if TYPE_CHECKING:
    import yaml

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
NAME_HINT = "use up to 41 lower-case letters, digits and _, beginning with a letter"
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: Sections within a section, before a file that contains itself is refused.
_DEPTH = 4
#: Whose keys are the user's own words.
_OWN_WORDS = "labels"


def taken(root: yaml.MappingNode | None) -> tuple[dict[str, Mapping[str, Any]], list[Problem]]:
    """The schedules of a file by name, and a problem for each that is none."""
    found, problems = dict[str, Mapping[str, Any]](), list[Problem]()
    for key, node in root.value if root is not None else ():
        if str(key.value).lower() == SCHEDULES:
            _take(node, found, problems)
    return found, problems


def _take(node: yaml.Node, found: dict[str, Mapping[str, Any]], problems: list[Problem]) -> None:
    try:
        plain = _plain(node, _DEPTH)
    except ValueError as reason:
        problems.append(Problem(SCHEDULES, str(reason)))
        return
    if plain is None:
        return
    if not isinstance(plain, Mapping):
        problems.append(Problem(SCHEDULES, "expected a section with a name for each schedule"))
        return
    for name, values in plain.items():
        if not NAME.fullmatch(name):
            problems.append(Problem(f"{SCHEDULES}.{name}", "is not a valid name of a schedule", NAME_HINT))
        elif not isinstance(values, Mapping):
            problems.append(Problem(f"{SCHEDULES}.{name}", "expected a section with keys below it"))
        else:
            found[name] = _spelled(values)


def _spelled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _HUMP.sub("_", key).lower(): _spelled(value)
        if isinstance(value, Mapping) and key != _OWN_WORDS
        else value
        for key, value in values.items()
    }


def _plain(node: yaml.Node, depth: int) -> Any:
    """What YAML means by a node; `ValueError` for what is nested too deeply."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return yaml.SafeLoader("").construct_object(node)
    if depth == 0:
        raise ValueError("is nested too deeply")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, depth - 1) for item in node.value]
    return {str(key.value): _plain(value, depth - 1) for key, value in node.value}
