"""The damage table: every kind of object, every damage, every command that should notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.robustness.damage import cases
from tests.robustness.damaged import judge
from tests.robustness.scene import BACKUP, REAL, scene
from tests.robustness.table import Table
from tests.sharing import share_in


@pytest.mark.parametrize(
    ("version", "shared"),
    [(REAL, False), (REAL, True), ("2.4.23", False), ("2.6.12", False), ("2.6.12", True)],
)
def test_every_damage_is_noticed(
    version: str, shared: bool, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    table = Table(f"damage on {version}: noticed of all")
    with scene(tmp_path, version) as found:
        if shared:
            share_in(found.template, BACKUP)
        for target, damage in cases(found.template):
            judge(found, target, damage, table)
    record_property("table", str(table))
    assert not table.missed, "\n".join(table.missed)
