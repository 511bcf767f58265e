"""Commented configuration files, which ``mbk config init`` writes.

``v1/TYPE.yaml`` and ``v2/TYPE.yaml`` mean the same; ``full.yaml`` has every key with its default. A storage type without
a sample gets one that is made of its settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Literal

from mbk.config.keys import BACKUP, KEYS, PRIMARY, Dialect
from mbk.config.v1 import V1
from mbk.config.v2 import V2

FULL = "full"
Format = Literal["v1", "v2"]
DIALECTS: Mapping[Format, Dialect] = {"v1": V1, "v2": V2}


def types() -> frozenset[str]:
    """The storage types that have a sample."""
    names = {item.name.removesuffix(".yaml") for item in (files(__name__) / "v2").iterdir()}
    return frozenset(names - {FULL})


def sample(kind: str, dialect: Format) -> str:
    """The sample of one of the `types`, or ``full``."""
    return (files(__name__) / dialect / f"{kind}.yaml").read_text(encoding="utf-8")


def made(kind: str, described: Mapping[str, str], dialect: Format) -> str:
    """A sample for another storage type. ``described``: its settings (`mbk.plugin.StorageSettings`), each with a word on it,
    which stand there as comments, to be filled in.
    """
    names = DIALECTS[dialect].by_target
    tree: dict[str, Any] = {}
    for side in (PRIMARY, BACKUP):
        values = {"type": "", **described} if side == PRIMARY else {"bucket": "", "root_path": ""}
        for value, help_ in values.items():
            if (name := names.get(f"{side}.{value}")) is None:
                continue
            *sections, leaf = name.key.split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})
            node[leaf] = kind if value == "type" else f"# {help_ or KEYS[name.target].help}"
    head = ["configVersion: v2"] if dialect == "v2" else []
    head.append(
        f"# The settings of storage type {kind}: remove the # before those that are needed, and fill them in."
    )
    return "\n".join([*head, *_lines(tree, "")]) + "\n"


def _lines(tree: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            # A section whose keys are all comments is one itself: an empty section is no section.
            is_comment = all(isinstance(item, str) and item.startswith("#") for item in value.values())
            yield f"{indent}{'# ' if is_comment else ''}{key}:"
            yield from _lines(value, f"{indent}  ")
        elif value.startswith("#"):
            yield f"{indent}# {key}:   {value}"
        else:
            yield f"{indent}{key}: {value}"
