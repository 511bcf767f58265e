"""Every example in Python compiles, and names what there is."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

from tests.docs.pages import Block, Page, blocks

PYTHON = blocks("python")
LONGEST_EMBEDDING = 10


def names_of_mbk(block: Block) -> Iterator[tuple[str, str]]:
    """Module and name of everything of mbk that the example uses; `SyntaxError` if it does not compile."""
    for node in ast.walk(ast.parse(block.text, filename=str(block))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mbk":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("mbk", "mbk.errors"):
            yield ast.unparse(node.value), node.attr


def test_every_example_compiles_and_what_it_uses_of_mbk_exists() -> None:
    wrong = [
        f"{block}: {module} has no {name}"
        for block in PYTHON
        for module, name in names_of_mbk(block)
        if not hasattr(importlib.import_module(module), name)
    ]
    assert wrong == []


def test_embedding_takes_ten_lines() -> None:
    example = Page("docs/how-to/embed-in-a-program.md").blocks[0]
    assert example.language == "python"
    assert len(example.text.splitlines()) <= LONGEST_EMBEDDING
