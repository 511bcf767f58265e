"""Every configuration in the documentation loads, in full."""

from __future__ import annotations

from pathlib import Path

from mbk.config.load import load
from mbk.errors import MbkError
from mbk.prices import known
from mbk.registry.registry import Registry
from tests.docs.pages import blocks


def test_every_documented_configuration_loads_and_selects_its_storages(tmp_path: Path) -> None:
    registry = Registry(disabled=())
    path = tmp_path / "backup.yaml"
    wrong = []
    for block in blocks("yaml"):
        path.write_text(block.text, encoding="utf-8")
        try:
            loaded = load(path, environ={})
            for side in (loaded.settings.storage, loaded.settings.backup_storage):
                registry.open(side).close()
        except MbkError as error:
            wrong.append(f"{block}: {error}")
        else:
            wrong += [f"{block}: {warning}" for warning in loaded.warnings]
    assert wrong == []


def test_the_documented_prices_come_before_those_that_are_known(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("yml") if "prices" in str(block))
    path = tmp_path / "ours.yaml"
    path.write_text(block.text, encoding="utf-8")
    ours, *others = known(path)
    assert ours.currency == "EUR"
    assert tuple(others) == known()
