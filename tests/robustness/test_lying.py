"""A storage that lies is found out at `create`, or what it did is done again: no backup of other bytes is called complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbk.errors import MbkError
from mbk.model.states import BackupState
from mbk.registry.registry import Registry
from tests.robustness.lies import WAYS, tell_all
from tests.robustness.lying import COPIES, READS, WRITES, Lie, Lying
from tests.robustness.scene import BACKUP
from tests.robustness.services import BACKUPS, Services, services
from tests.robustness.table import Table, sample

#: How objects are copied, and the lies that can be told then.
MODES = {"auto": (*READS, *WRITES, *COPIES), "streaming": (*READS, *WRITES)}


@pytest.mark.parametrize("way", WAYS)
def test_every_lie_is_found_out(way: str, record_property: Callable[[str, object], None]) -> None:
    table = Table("lies while a backup is made: found out or undone, of all")
    tell_all(way, table)
    record_property("table", str(table))
    assert not table.missed, "\n".join(table.missed)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    directory: Path = tmp_path_factory.mktemp("lies")
    with services(directory, "2.4.23") as found:
        yield found


def backed_up(site: Services, lie: Lie, mode: str) -> str:
    """What is wrong afterwards, empty where the lie was found out or did no harm."""
    registry = Registry()
    registry.register(Lying(lie), "lies")
    root = site.fresh()
    try:
        with site.session(root, registry=registry, transfer={"mode": mode}) as session:
            session.create(BACKUP, format="binlog")
    except MbkError:
        with site.session(root) as session:
            states = [item.state for item in session.list() if item.name == BACKUP]
        return "" if BackupState.COMPLETE not in states else f"{lie.told}: complete after an error"
    return _wrong(site, root, lie)


def _wrong(site: Services, root: str, lie: Lie) -> str:
    """Compares what was called complete with what Milvus has."""
    copied = site.objects(BACKUPS, f"{root}/{BACKUP}/binlogs/")
    if sorted(copied.values()) != site.data:
        return f"{lie.told}: other bytes"
    with site.session(root) as session:
        try:
            session.get(BACKUP, detail=True)
        except MbkError as error:
            return f"{lie.told}: {error}"
    return ""


@pytest.mark.parametrize("mode", MODES)
def test_lies_on_s3_are_found_out(
    site: Services, mode: str, record_property: Callable[[str, object], None]
) -> None:
    table = Table(f"lies on S3, mode {mode}: found out of all")
    for kind in MODES[mode]:
        honest = Lie(kind)
        assert backed_up(site, honest, mode) == ""
        calls = range(1, len(honest.calls[kind.split()[1]]) + 1)
        for at in sample(calls, 6, seed=len(calls)):
            lie = Lie(kind, at)
            wrong = backed_up(site, lie, mode)
            table.count(kind, "create", good=not wrong, what=f"call {at}: {wrong}")
    record_property("table", str(table))
    assert not table.missed, "\n".join(table.missed)
