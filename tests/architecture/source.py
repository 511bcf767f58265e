"""The sources as data: which modules there are, what they import, and the words that they use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Module:
    """``name`` is dotted (``mbk.engine.runtime.retry``); ``path`` is relative to the repository, with slashes."""

    name: str
    path: str

    @cached_property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> frozenset[str]:
        """Every module that it imports at any level; ``from mbk import errors`` counts as ``mbk.errors``."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno} imports relatively"
                base = node.module or ""
                found.update(_imported(base, alias.name) for alias in node.names)
        return frozenset(found)

    def words(self) -> Iterator[tuple[int, str]]:
        """Names and text constants with their lines; docstrings and comments are not among them."""
        docstrings = {id(node.value) for node in ast.walk(self.tree) if _is_docstring(node)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield node.lineno, node.value
            elif isinstance(node, ast.Name):
                yield node.lineno, node.id
            elif isinstance(node, ast.Attribute):
                yield node.lineno, node.attr
            elif isinstance(node, ast.arg):
                yield node.lineno, node.arg
            elif isinstance(node, ast.keyword) and node.arg:
                yield node.value.lineno, node.arg
            elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias):
                yield node.lineno, node.name


def _imported(base: str, name: str) -> str:
    """``from mbk import errors`` imports ``mbk.errors``, ``from mbk.errors import MbkError`` the module as well."""
    path = ROOT / "core" / f"{base}.{name}".replace(".", "/")
    return f"{base}.{name}" if base == "mbk" or path.is_dir() or path.with_suffix(".py").exists() else base


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def modules(source_root: str) -> list[Module]:
    """The Python modules below a source root (``core`` or ``plugins``)."""
    found = []
    for path in sorted((ROOT / source_root).rglob("*.py")):
        parts = list(path.relative_to(ROOT / source_root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.relative_to(ROOT).as_posix()))
    return found


CORE = modules("core")
PLUGINS = modules("plugins")
