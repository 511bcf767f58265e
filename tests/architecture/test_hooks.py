"""A hook exists only with a caller in core, a test, and a section in the documentation."""

from __future__ import annotations

import inspect
import re

from mbk.plugin import spec
from tests.architecture.source import CORE, ROOT

HOOKS = {name: function for name, function in vars(spec).items() if name.startswith("mbk_")}
SECTION = re.compile(r"^## `(mbk_\w+)\(([^)]*)\)`$", re.MULTILINE)
PAGE = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")


def test_there_are_hooks_and_each_is_marked() -> None:
    assert HOOKS
    assert all(hasattr(function, "mbk_spec") for function in HOOKS.values())


def test_core_calls_every_hook() -> None:
    called = "".join(module.text for module in CORE)
    assert [hook for hook in HOOKS if f".hook.{hook}" not in called] == []


def test_a_test_implements_every_hook() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/unit").glob("*/test_*.py"))
    assert [hook for hook in HOOKS if f"def {hook}(" not in tests] == []


def test_the_page_documents_each_hook_with_its_arguments() -> None:
    documented = dict(SECTION.findall(PAGE))
    assert documented == {name: ", ".join(inspect.signature(hook).parameters) for name, hook in HOOKS.items()}


def test_the_page_documents_every_field_of_a_storage_backend() -> None:
    fields = spec.StorageBackend.__dataclass_fields__
    assert [name for name in fields if f"`{name}`" not in PAGE] == []
