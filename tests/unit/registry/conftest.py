"""Distributions made up on the spot: real metadata on `sys.path`, found by `importlib.metadata` like any other."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

STORAGE_MODULE = """
from mbk.plugin import StorageBackend, hookimpl

def settings():
    from mbk.plugin import StorageSettings
    return StorageSettings

class Store:
    location = capabilities = None
    def __init__(self, settings): self.settings = settings
    def check(self): ...
    def nothing(self, *args, **kwargs): ...
    close = list = stat = read = write = write_if_absent = delete = nothing
    can_copy_from = copy = multipart = clean = list_level = nothing

@hookimpl
def mbk_storage_backends():
    yield StorageBackend("acme", "Acme's storage", settings=settings, open=Store, aliases=("acme-cloud",))
"""


class Install(Protocol):
    def __call__(
        self,
        distribution: str,
        modules: Mapping[str, str],
        *,
        storage: Mapping[str, str] = ...,
        plugin: Mapping[str, str] = ...,
        metadata: str = ...,
    ) -> None: ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lays down a distribution of these modules (name to source) with these entry points (name to module)."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def lay(
        distribution: str,
        modules: Mapping[str, str],
        *,
        storage: Mapping[str, str] | None = None,
        plugin: Mapping[str, str] | None = None,
        metadata: str = "",
    ) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
        (info / "METADATA").write_text(head + metadata)
        groups = {"mbk.storage": storage or {}, "mbk.plugin": plugin or {}}
        lines = [
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in names.items())
            for group, names in groups.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))

    yield lay
    for name in set(sys.modules) - before:
        if not name.startswith(("mbk.", "pydantic")):
            del sys.modules[name]


@pytest.fixture
def acme(install: Install) -> None:
    """The distribution `mbk-acme`: a storage `acme`, also called `acme-cloud`."""
    install("mbk-acme", {"mbk_acme": STORAGE_MODULE}, storage={"acme": "mbk_acme", "acme-cloud": "mbk_acme"})
