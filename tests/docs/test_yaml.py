"""Every configuration in the documentation loads, in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbk.config.load import load
from mbk.registry.registry import Registry
from tests.docs.pages import Block, blocks


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_a_documented_configuration_loads_and_selects_its_storages(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "backup.yaml"
    path.write_text(block.text, encoding="utf-8")
    loaded = load(path, environ={})
    assert loaded.warnings == ()
    registry = Registry(disabled=())
    for side in (loaded.settings.storage, loaded.settings.backup_storage):
        registry.open(side).close()
