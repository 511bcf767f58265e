"""Every example in Python compiles, and names what there is."""

from __future__ import annotations

import ast
import importlib

import pytest

from tests.docs.pages import Block, Page, blocks

PYTHON = blocks("python")
LONGEST_EMBEDDING = 10


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_an_example_compiles(block: Block) -> None:
    ast.parse(block.text, filename=str(block))


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_what_an_example_imports_of_mbk_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mbk":
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block}: {node.module} has no {alias.name}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("mbk", "mbk.errors"):
            owner = importlib.import_module(ast.unparse(node.value))
            assert hasattr(owner, node.attr), f"{block}: {ast.unparse(node)} does not exist"


def test_embedding_takes_ten_lines() -> None:
    example = Page("docs/how-to/embed-in-a-program.md").blocks[0]
    assert example.language == "python"
    assert len(example.text.splitlines()) <= LONGEST_EMBEDDING
