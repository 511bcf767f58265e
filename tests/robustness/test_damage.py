"""The damage table: every kind of object, every damage, every command that should notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.robustness.damage import cases
from tests.robustness.damaged import judge
from tests.robustness.scene import BACKUP, REAL, scene
from tests.robustness.table import Table


@pytest.mark.parametrize("version", [REAL, "2.4.23", "2.6.12"])
def test_every_damage_is_noticed(
    version: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    table = Table(f"damage on {version}: noticed of all")
    with scene(tmp_path, version) as found:
        for target, damage in cases(found.template / BACKUP):
            judge(found, target, damage, table)
    record_property("table", str(table))
    assert not table.missed, "\n".join(table.missed)
