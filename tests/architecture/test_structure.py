"""What keeps the structure plain: no import goes in a circle, and no vendor's plugin repeats another's lines."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.architecture.source import CORE, PLUGINS, Module

#: As many lines alike are an algorithm, not a habit of writing.
ALIKE = 6


def test_no_import_goes_in_a_circle() -> None:
    modules = {module.name: module for module in (*CORE, *PLUGINS)}
    below = {
        name: {imported for imported in module.imports if imported in modules and imported != name}
        for name, module in modules.items()
    }
    while leaves := [name for name, imports in below.items() if not imports]:
        for leaf in leaves:
            del below[leaf]
        below = {name: imports.difference(leaves) for name, imports in below.items()}
    above: dict[str, set[str]] = defaultdict(set)
    for name, imports in below.items():
        for imported in imports:
            above[imported].add(name)
    # What only imports a circle is in none itself.
    while tops := [name for name in below if not above[name]]:
        for top in tops:
            for imported in below.pop(top):
                above[imported].discard(top)
    assert sorted(below) == []


def test_no_vendors_plugin_repeats_anothers_lines() -> None:
    places: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for module in PLUGINS:
        plugin = module.name.split(".")[0]
        if module.name.endswith(".settings"):
            continue  # vendors' settings are alike where the services are
        lines = list(_lines(module))
        for start in range(len(lines) - ALIKE + 1):
            run = lines[start : start + ALIKE]
            places[tuple(text for _, text in run)].setdefault(plugin, f"{module.path}:{run[0][0]}")
    assert [sorted(where.values()) for where in places.values() if len(where) > 1] == []


def _lines(module: Module) -> list[tuple[int, str]]:
    """Lines of code with their numbers; imports, comments, docstrings and lone brackets are none."""
    skipped: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    found = []
    for number, line in enumerate(module.text.splitlines(), start=1):
        text = line.strip()
        if number not in skipped and text and not text.startswith("#") and any(map(str.isalnum, text)):
            found.append((number, text))
    return found
