"""`verify` of what each version of Milvus wrote: nothing is found in a whole backup, and a drill restores it and is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbk.errors import DamageFound, Interrupted
from mbk.model.events import Event, PhaseStarted
from mbk.model.states import BackupState, FindingKind
from tests.raising import raised
from tests.sharing import share_in
from tests.versions.everything import DATABASE, MAKERS, Filling
from tests.versions.places import Place, place

VERSIONS = ("v2.2.16", "v2.3.22", "v2.4.23", "v2.5.8", "v2.6.12", "v3.0.1")
MADE = {"scalars", "empty", "vectors", "full_text"}


@pytest.fixture(scope="module", params=VERSIONS)
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server with collections, and the backup ``nightly`` of them as binlogs."""
    directory: Path = tmp_path_factory.mktemp("verify")
    with place(directory, request.param) as found:
        found.double.state.sync_deletes = True
        filling = Filling(found.double)
        if filling.has("databases"):
            filling.client().create_database(DATABASE)
        for maker in MAKERS:
            if maker.name in MADE and filling.has(*maker.needs):
                maker.make(filling, maker.name)
        filling.close()
        with found.session() as session:
            session.create("nightly", format="binlog")
        yield found


def inventory(held: Place) -> set[tuple[str, str]]:
    return {(item.database, item.name) for item in held.double.state.collections.values()}


def scratch(held: Place) -> list[str]:
    """What drills have left."""
    names = [name for pair in inventory(held) for name in pair]
    return [name for name in (*names, *held.double.state.databases) if name.startswith("mbk_drill_")]


@pytest.mark.parametrize("depth", ["listing", "digests", "contents"])
def test_nothing_is_found_in_a_whole_backup(held: Place, depth: Any) -> None:
    with held.session() as session:
        report = session.verify("nightly", depth=depth)
    assert report.findings == ()
    assert report.recorded
    assert report.stored
    if depth == "contents":
        for collection in report.collections:
            assert collection.read == collection.parsed == collection.objects


def test_nothing_is_found_without_the_record_either(held: Place, tmp_path: Path) -> None:
    """As a backup of the classic tool; then it gets a record by being read."""
    import json
    import shutil

    backups = tmp_path / "backups"
    shutil.copytree(held.config.parent / "backups" / "nightly", backups / "nightly")
    meta = backups / "nightly" / "meta"
    for file in meta.iterdir():
        if file.name == "mbk.json" or file.name.startswith(("objects-", "verif")):
            file.unlink()
    full = json.loads((meta / "full_meta.json").read_bytes())
    del full["mbk"]
    (meta / "full_meta.json").write_text(json.dumps(full), encoding="utf-8")
    with held.session(**{"backup.storage": {"rootPath": str(backups)}}) as session:
        for depth in ("listing", "contents"):
            report = session.verify("nightly", depth=depth)  # type: ignore[arg-type]  # one of the names
            assert (report.findings, report.recorded) == ((), False)
        session.verify("nightly", record=True)
        report = session.verify("nightly", depth="contents")
        assert (report.findings, report.recorded) == ((), True)
        assert all(item.proven == item.objects for item in report.collections)
        assert [item.state for item in session.list()] == [BackupState.COMPLETE]
        session.restore("nightly", suffix="_again")
    dropped = [pair for pair in inventory(held) if pair[1].endswith("_again")]
    assert dropped


def test_a_drill_restores_everything_compares_it_and_leaves_nothing(held: Place) -> None:
    before, databases = inventory(held), {*held.double.state.databases}
    events: list[Event] = []
    with held.session() as session:
        report = session.verify("nightly", depth="drill", on_event=events.append)
        last = session.get("nightly").verified
    assert report.findings == ()
    filled = [item for item in report.collections if item.rows]
    assert filled
    assert all(item.restored for item in filled)
    assert [event for event in events if getattr(event, "code", "").startswith("drill")] == []
    assert [event.phase for event in events if isinstance(event, PhaseStarted)][:2] == ["connect", "plan"]
    assert last is not None
    assert (last.depth, last.findings) == ("drill", 0)
    assert (inventory(held), {*held.double.state.databases}) == (before, databases)


def test_nothing_is_found_in_a_whole_shared_backup(held: Place, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(held.config.parent / "backups" / "nightly", tmp_path / "nightly")
    share_in(tmp_path, "nightly")
    with held.session(**{"backup.storage": {"rootPath": str(tmp_path)}}) as session:
        for depth in ("digests", "contents", "drill"):
            report = session.verify("nightly", depth=depth)  # type: ignore[arg-type]  # one of the names
            assert (report.findings, report.recorded, report.stored) == ((), True, True)
        assert all(item.restored for item in report.collections if item.rows)


def test_a_drill_of_a_damaged_backup_sends_nothing_to_milvus(held: Place) -> None:
    backups = held.config.parent / "backups" / "nightly" / "binlogs"
    path = next(path for path in sorted(backups.rglob("*")) if path.is_file() and "insert_log" in str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    try:
        with held.session() as session, raised(DamageFound, "backup-damaged") as caught:
            session.verify("nightly", depth="drill")
    finally:
        path.write_bytes(whole)
    report: Any = caught.value
    (finding,) = report.report.findings
    assert (finding.kind, finding.key) == (
        FindingKind.RESIZED,
        path.relative_to(held.config.parent / "backups" / "nightly").as_posix(),
    )
    assert scratch(held) == []


@pytest.mark.parametrize("phase", ["import", "compare rows"])
def test_an_interrupted_drill_is_removed(held: Place, phase: str) -> None:
    cancelled = threading.Event()

    def stop(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == phase:
            cancelled.set()

    with held.session() as session, pytest.raises(Interrupted):
        session.verify("nightly", depth="drill", on_event=stop, cancelled=cancelled)
    assert scratch(held) == []
