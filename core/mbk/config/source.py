"""Finds and reads the file: YAML to ``{dotted key: text}``, with all problems of its structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbk.config.keys import Dialect
from mbk.config.parse import Raw
from mbk.errors import ConfigError, Problem

if TYPE_CHECKING:
    import yaml

DEFAULT_NAME = "backup.yaml"
VERSION_KEY = "configVersion"
#: A section of names and parameters, which is read by itself.
SCHEDULES = "schedules"
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"


@dataclass(slots=True)
class Flat:
    """The settings of a file: each known key as written, with its raw text; problems and unknown keys."""

    values: dict[str, Raw] = field(default_factory=dict, repr=False)
    unknown: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def places(path: str | PathLike[str] | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where the file is looked for: as given, then in ``$MILVUSCONF``, then in ``./configs``."""
    given = Path(path if path is not None else DEFAULT_NAME)
    found = [given]
    if environ.get("MILVUSCONF"):
        found.append(Path(environ["MILVUSCONF"]) / given.name)
    return tuple(dict.fromkeys([*found, Path("configs") / given.name]))


def find(path: str | PathLike[str] | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The first of its places where a file is; None if none was named and none exists.

    Raises `ConfigError` with the searched places if a named file is in none of them.
    """
    searched = places(path, environ)
    for place in searched:
        if _present(cwd / place):
            return place
    if path is None:
        return None
    looked = ", ".join(map(str, searched))
    raise ConfigError(str(path), [Problem("", f"no such configuration file (searched: {looked})")])


def _present(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # it exists but is not accessible: reading it reports why


def read(path: Path, cwd: Path) -> yaml.MappingNode | None:
    """The root of the file; None for an empty file. Raises `ConfigError` if it is not a mapping."""
    import yaml

    text = _text(path, cwd)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as exc:
        raise ConfigError(str(path), [_syntax(exc)]) from exc
    if root is None or root.tag == _NULL:
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            str(path), [Problem("", "expected sections and keys (`key: value`) at the top level")]
        )
    return root


def _text(path: Path, cwd: Path) -> str:
    try:
        return (cwd / path).read_bytes().decode("utf-8-sig")
    except OSError as exc:
        reason = (exc.strerror or "unreadable").lower()
        raise ConfigError(str(path), [Problem("", f"cannot read the file: {reason}")]) from exc
    except UnicodeDecodeError as exc:
        message = f"not UTF-8 text (byte {exc.start + 1})"
        raise ConfigError(str(path), [Problem("", message, "save the file as UTF-8")]) from exc


def _syntax(exc: yaml.YAMLError) -> Problem:
    """Position and problem. The parser's quotation of the line is left out: it may contain a secret."""
    import yaml

    if isinstance(exc, yaml.MarkedYAMLError) and exc.problem_mark is not None:
        place = f"line {exc.problem_mark.line + 1}, column {exc.problem_mark.column + 1}"
        what = exc.problem or "malformed"
        if "alias" in what:
            return Problem("", f"YAML error at {place}: unknown alias", "quote values that start with *")
        hint = None
        if "cannot start any token" in what:
            hint = "indent with spaces, not tabs, and quote values that start with a special character"
        elif "unknown escape" in what or "expected hex" in what:
            hint = "put a path with backslashes between single quotes"
        elif "another document" in what:
            hint = "keep one document: remove the ---"
        return Problem("", f"YAML error at {place}: {what}", hint)
    return Problem("", "YAML error: the file contains control characters")


def version(root: yaml.MappingNode | None) -> str:
    """``configVersion`` as written, ``"v1"`` when it is missing."""
    if root is None:
        return "v1"
    for key, value in root.value:
        if str(key.value).lower() == VERSION_KEY.lower() and isinstance(value.value, str):
            return value.value.strip() or "v1"
    return "v1"


def children(root: yaml.MappingNode | None, section: str) -> list[str]:
    """The keys of one section of the file, in lower case; none if there is no such section."""
    import yaml

    sections = (
        value
        for key, value, _ in (_pairs(root) if root is not None else ())
        if str(key.value).lower() == section and isinstance(value, yaml.MappingNode)
    )
    return [str(key.value).lower() for value in sections for key, _, _ in _pairs(value)]


def flatten(root: yaml.MappingNode | None, dialect: Dialect, other: Dialect) -> Flat:
    """The settings of ``dialect``. A section that only the ``other`` dialect has is unknown key by key."""
    flat = Flat()
    if root is not None:
        _walk(root, "", dialect, other, flat)
    return flat


def _walk(node: yaml.MappingNode, prefix: str, dialect: Dialect, other: Dialect, flat: Flat) -> None:
    """Descends only into sections of the dialects: they are finite, so a file that refers to itself is no problem."""
    import yaml

    lines: dict[str, int] = {}
    for key_node, value, merged in _pairs(node):
        if not isinstance(key_node, yaml.ScalarNode):
            flat.problems.append(
                Problem(prefix.rstrip("."), f"the key on line {_line(key_node)} is not a plain name")
            )
            continue
        key = prefix + key_node.value
        if merged and key.lower() in lines:
            continue
        if key.lower() in lines:
            message = f"set twice, on lines {lines[key.lower()]} and {_line(key_node)}"
            flat.problems.append(Problem(key, message, "keep one of them"))
            continue
        lines[key.lower()] = _line(key_node)
        _enter(key, value, dialect, other, flat)


def _enter(key: str, value: yaml.Node, dialect: Dialect, other: Dialect, flat: Flat) -> None:
    import yaml

    if key.lower() in (VERSION_KEY.lower(), SCHEDULES):
        return
    if key.lower() in dialect.sections:
        if isinstance(value, yaml.MappingNode):
            _walk(value, key + ".", dialect, other, flat)
        elif value.tag != _NULL:
            flat.problems.append(Problem(key, "expected a section with keys below it"))
    elif key.lower() not in dialect.by_key:
        flat.unknown += _unknown(key, value, other)
    elif isinstance(value, yaml.SequenceNode):
        items = [_item(item) for item in value.value]
        if None in items:
            flat.problems.append(Problem(key, "expected a list of plain values"))
        else:
            flat.values[key] = tuple(item for item in items if item is not None)
    elif isinstance(value, yaml.MappingNode):
        flat.problems.append(Problem(key, "expected a value, not a section"))
    elif value.tag != _NULL:
        flat.values[key] = str(value.value)


def _unknown(key: str, value: yaml.Node, other: Dialect) -> list[str]:
    """The keys below a section that only the other dialect has; any other key as it is."""
    import yaml

    inner = Flat()
    if key.lower() in other.sections and isinstance(value, yaml.MappingNode):
        _walk(value, key + ".", other, other, inner)
    return [*inner.values, *inner.unknown] or [key]


def _item(node: yaml.Node) -> str | Mapping[str, str] | None:
    """A plain value, or a section of plain values; None for anything deeper."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if not isinstance(node, yaml.MappingNode):
        return None
    if not all(isinstance(part, yaml.ScalarNode) for pair in node.value for part in pair):
        return None
    return {str(key.value): str(value.value) for key, value in node.value}


def _pairs(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
    """The node's own pairs, then those of its merge keys (``<<: *anchor``, one level)."""
    import yaml

    merged: list[yaml.Node] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        else:
            yield key, value, False
    for source in merged:
        if isinstance(source, yaml.MappingNode):
            yield from ((key, value, True) for key, value in source.value if key.tag != _MERGE)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
