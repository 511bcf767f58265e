"""Writes core/mbk/model/keywords.py from the options classes: ``python -m tests.typing.keywords``."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterator
from pathlib import Path

from mbk.model import options
from mbk.model.declared import Options

#: As `ruff format` has it.
LINE = 110
PATH = Path(__file__).parents[2] / "core/mbk/model/keywords.py"
#: Of the others every option is a parameter of the method.
KINDS: tuple[type[Options], ...] = (
    options.CreateOptions,
    options.RestoreOptions,
    options.PruneOptions,
    options.GcOptions,
)


def text() -> str:
    """The module as it must be."""
    classes = [_class(kind) for kind in KINDS]
    body = "\n\n\n".join(classes)
    fields = [node for node in ast.walk(ast.parse(body)) if isinstance(node, ast.AnnAssign)]
    used = {node.id for field in fields for node in ast.walk(field.annotation) if isinstance(node, ast.Name)}
    lines = [
        '"""The keyword arguments of `Session`, for type checkers.',
        "",
        "Generated from the options classes; after a change there: ``python -m tests.typing.keywords``.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        *_imports(used),
        "",
    ]
    return "\n".join([*lines, body, ""])


def _class(kind: type[Options]) -> str:
    name = kind.__name__.removesuffix("Options") + "Keywords"
    fields = [f"    {field}: {type_}" for field, type_ in accepted(kind)]
    return "\n".join(
        [f"class {name}(TypedDict, total=False):", f'    """Those of `{kind.__name__}`."""', "", *fields]
    )


def accepted(kind: type[Options]) -> Iterator[tuple[str, str]]:
    declared = {item.name: item for item in kind.declared()}
    for name, annotation in kind.__annotations__.items():
        accepts = declared[name].option.accepts if name in declared else ""
        yield name, accepts or ast.unparse(_bare(ast.parse(annotation, mode="eval").body))


def _bare(node: ast.expr) -> ast.expr:
    """The type within ``InitVar[…]`` and ``Annotated[…]``."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        if node.value.id == "InitVar":
            return _bare(node.slice)
        if node.value.id == "Annotated" and isinstance(node.slice, ast.Tuple):
            return _bare(node.slice.elts[0])
    return node


def _imports(used: set[str]) -> Iterator[str]:
    """From where the options module has these names; what it defines, from there."""
    tree = ast.parse(inspect.getsource(options))
    found = {"typing": {"TypedDict"}, "mbk.model.options": {*used}}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (names := {alias.name for alias in node.names} & used):
            found[node.module or ""] = found.get(node.module or "", set()) | names
            found["mbk.model.options"] -= names
    found["mbk.model.options"] -= {*dir(builtins)}
    for ours in (False, True):
        for module in sorted(name for name in found if name.startswith("mbk.") is ours):
            names = sorted(found[module])
            line = f"from {module} import {', '.join(names)}"
            yield from (
                [line]
                if len(line) <= LINE
                else [f"from {module} import (", *(f"    {n}," for n in names), ")"]
            )
        yield ""


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
