"""Writes the reference of the library from its docstrings: ``python -m tests.docs.python_api``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from pydantic import BaseModel

import mbk
from mbk.model.declared import Options
from tests.docs.pages import ROOT
from tests.typing.keywords import accepted

PAGE = ROOT / "docs/reference/python-api.md"
LINE = 100
_SHOWN = ("property", "classmethod")
#: By the module where an export lives; what lives in another one has no place yet, and a test says so.
SECTIONS = {
    "mbk.session": "Sessions",
    "mbk.model.options": "Options",
    "mbk.model.selection": "What is selected and renamed",
    "mbk.model.mapping": "Mappings",
    "mbk.model.plans": "Plans",
    "mbk.model.reports": "Reports",
    "mbk.model.contents": "Backups",
    "mbk.model.events": "Events",
    "mbk.observe.meter": "Meters",
    "mbk.model.jobs": "Progress",
    "mbk.model.states": "Words",
    "mbk.config.schema": "Settings",
    "mbk.plugin": "Plugins",
}
_HEAD = """# Python API

Everything that `import mbk` offers, made of its docstrings; [embed mbk in a program](../how-to/embed-in-a-program.md) shows how to
use it. Sizes are bytes and durations seconds, unless said otherwise. Values are frozen: a changed one is a new one
(`dataclasses.replace`). Errors are those of `mbk.errors`, which [a page of their own](errors.md#kinds-of-error) lists. What is not named
here, or begins with `_`, may change in any version.
"""


def written() -> str:
    """The page as it must be."""
    parts = [_HEAD]
    for module, title in SECTIONS.items():
        names = [name for name in mbk.__all__ if mbk._LAZY.get(name) == module]
        parts += [f"## {title}\n", *(_described(name, getattr(mbk, name)) for name in names)]
    return "\n".join(parts)


def _described(name: str, value: Any) -> str:
    if not inspect.isclass(value):
        block = [_stub(value)] if inspect.isfunction(value) else []
        return "\n".join([f"### {name}\n", *block, _prose(value)])
    return "\n".join([f"### {name}\n", _prose(value), *_fields(value), *_members(name, value)])


def _fields(kind: type) -> Iterator[str]:
    if issubclass(kind, Enum):
        yield f"One of {', '.join(f'`{item.value}`' for item in kind)}.\n"
    elif issubclass(kind, Options):
        rows = [*_keywords(kind)]
        yield "\n".join(["| keyword | accepts | default | meaning |", "|---|---|---|---|", *rows]) + "\n"
    elif rows := [*_rows(kind)]:
        yield "\n".join(["| field | type | default |", "|---|---|---|", *rows]) + "\n"


def _keywords(kind: type[Options]) -> Iterator[str]:
    types = dict(accepted(kind))
    for item in kind.declared():
        default = "required" if item.is_required else _default(item.default, None)
        meaning = item.option.sentence.replace("*", "\\*")
        yield f"{_row(item.name, types[item.name], default)} {meaning} |"


def _rows(kind: Any) -> Iterator[str]:
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            yield _row(field.name, str(field.type), _default(field.default, field.default_factory))
    else:
        for name, field in getattr(kind, "model_fields", {}).items():
            yield _row(name, _annotation(kind, name), _default(field.default, field.default_factory))


def _row(name: str, type_: str, default: str) -> str:
    bare = re.sub(r"Annotated\[(.+), Option\(.*", r"\1", type_, flags=re.DOTALL)
    shown = " ".join(bare.split()).replace("|", "\\|")
    return f"| `{name}` | `{shown}` | {default} |"


def _annotation(kind: type, name: str) -> str:
    return next(
        str(base.__annotations__[name])
        for base in kind.__mro__
        if name in vars(base).get("__annotations__", {})
    )


def _default(value: Any, factory: Any) -> str:
    if isinstance(value, BaseModel) or (isinstance(factory, type) and issubclass(factory, BaseModel)):
        return "[its own](configuration.md#every-key)"
    if callable(factory) and factory is not dataclasses.MISSING:
        made = factory()
        return f"`{made!r}`" if made in ((), {}, [], frozenset()) else ""
    if value is dataclasses.MISSING or repr(value).startswith("PydanticUndefined"):
        return ""
    return f"`{value.value!r}`" if isinstance(value, Enum) else f"`{value!r}`"


def _members(name: str, kind: type) -> Iterator[str]:
    """Methods and properties that say what they do, those of the class before those of its bases."""
    seen: set[str] = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("mbk") or base is Options or issubclass(base, Enum):
            continue
        for member, value in vars(base).items():
            function = _function(value)
            if function is None or member.startswith("_") or member in seen or not function.__doc__:
                continue
            seen.add(member)
            yield f"#### {name}.{member}\n\n{_stub(function)}\n{_prose(function)}"


def _function(value: Any) -> Callable[..., Any] | None:
    if isinstance(value, property):
        return value.fget
    if isinstance(value, classmethod | staticmethod):
        return value.__func__
    return value if inspect.isfunction(value) else None


def _stub(function: Callable[..., Any]) -> str:
    """The signature as it stands in the source, one parameter a line if it is long."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    decorators = [f"@{text}\n" for item in node.decorator_list if (text := ast.unparse(item)) in _SHOWN]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    parameters = [*_parameters(node.args)]
    text = f"def {node.name}({', '.join(parameters)}){returns}: ..."
    if len(text) > LINE:
        text = f"def {node.name}(\n" + "".join(f"    {item},\n" for item in parameters) + f"){returns}: ..."
    return f"```python\n{''.join(decorators)}{text}\n```\n"


def _parameters(args: ast.arguments) -> Iterator[str]:
    defaults = [None] * (len(args.args) - len(args.defaults)) + args.defaults
    yield from map(_parameter, args.args, defaults)
    if args.kwonlyargs:
        yield "*"
        yield from map(_parameter, args.kwonlyargs, args.kw_defaults)
    if args.kwarg:
        yield f"**{ast.unparse(args.kwarg)}"


def _parameter(item: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(item) + (f" = {ast.unparse(default)}" if default else "")


def _prose(value: Any) -> str:
    """A docstring as Markdown: code in single backticks, pages of the documentation as links."""
    if value is mbk.hookimpl:
        return "Marks a function as a [hook of a plugin](hooks.md).\n"
    text = re.sub(r":\w+:(?=`)", "", inspect.getdoc(value) or "")
    if text.rstrip(".") == getattr(value, "__name__", ""):  # dataclasses without one have their name
        return ""
    text = re.sub(r"`[^`]*`|\*", lambda part: "\\*" if part[0] == "*" else part[0], text.replace("``", "`"))
    return re.sub(r"docs/(?:reference/)?([a-z-]+\.md(?:#[a-z-]+)?)", r"[\1](\1)", text) + "\n"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
