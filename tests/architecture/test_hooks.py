"""A hook exists only with a caller in core, a test, and a section in the documentation."""

from __future__ import annotations

import inspect
import re

import pytest

from mbk.plugin import spec
from tests.architecture.source import CORE, ROOT

HOOKS = {name: function for name, function in vars(spec).items() if name.startswith("mbk_")}
SECTION = re.compile(r"^## `(mbk_\w+)\(([^)]*)\)`$", re.MULTILINE)
PAGE = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")


def test_there_are_hooks_and_each_is_marked() -> None:
    assert HOOKS
    assert all(hasattr(function, "mbk_spec") for function in HOOKS.values())


@pytest.mark.parametrize("hook", HOOKS)
def test_core_calls_the_hook(hook: str) -> None:
    assert any(f".hook.{hook}" in module.text for module in CORE)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_test_implements_the_hook(hook: str) -> None:
    tests = (ROOT / "tests/unit").glob("*/test_*.py")
    assert any(f"def {hook}(" in path.read_text(encoding="utf-8") for path in tests)


def test_the_page_documents_each_hook_with_its_arguments() -> None:
    documented = dict(SECTION.findall(PAGE))
    assert documented == {name: ", ".join(inspect.signature(hook).parameters) for name, hook in HOOKS.items()}


def test_the_page_documents_every_field_of_a_storage_backend() -> None:
    fields = spec.StorageBackend.__dataclass_fields__
    assert [name for name in fields if f"`{name}`" not in PAGE] == []
