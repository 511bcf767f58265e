"""While a share of all requests fails, a run ends with the same bytes and rows, or gives up and can be gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbk.errors import MbkError
from mbk.model.states import BackupState
from tests.robustness.pace import CALM
from tests.robustness.scene import BACKUP, NAME
from tests.robustness.services import BACKUPS, MILVUS, ROOT, Services, services
from tests.robustness.weather import stormy

#: As often as a patient user runs a command that gave up again.
RUNS = 30


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    directory: Path = tmp_path_factory.mktemp("storms")
    with services(directory, "2.4.23") as found:
        yield found


def until_done(run: Callable[[bool], object]) -> int:
    """How often it gave up; what it gives up with is one of mbk's own errors, and no damage is suspected."""
    for given_up in range(RUNS):
        try:
            run(given_up > 0)
        except MbkError as error:
            if error.exit_code not in (1, 3, 7):
                raise
        else:
            return given_up
    raise AssertionError(f"not done after {RUNS} runs")


@pytest.mark.parametrize("mode", ["auto", "streaming"])
@pytest.mark.parametrize("percent", [1, 10, 30])
def test_stormy(
    site: Services, percent: int, mode: str, record_property: Callable[[str, object], None]
) -> None:
    root, target = site.fresh(), f"{NAME}_s{percent}{mode}"

    def state() -> str:
        with site.session(root) as session:
            return next((item.state for item in session.list() if item.name == BACKUP), "")

    def create(again: bool) -> None:
        resume = again and state() == BackupState.INCOMPLETE
        with site.session(root, pace=CALM, transfer={"mode": mode}) as session:
            session.create(BACKUP, format="binlog", resume=resume, filter=NAME)

    def restore(_again: bool) -> None:
        with site.session(root, pace=CALM, transfer={"mode": mode}) as session:
            session.restore(BACKUP, rename=f"{NAME}:{target}")

    site.proxy.requests.clear()
    with stormy(site, percent / 100, seed=percent) as weather:
        created = until_done(create)
        restored = until_done(restore)
    assert weather.struck > 0
    assert sorted(site.objects(BACKUPS, f"{root}/{BACKUP}/binlogs/").values()) == site.data
    with site.session(root) as session:
        session.verify(BACKUP, depth="contents")
    assert site.rows(target) == site.exact
    site.coll.client.drop_collection(target)
    left = [key for key in site.objects(BACKUPS, f"{root}/") if ".mbk" in key]
    left += [key for key in site.objects(MILVUS, f"{ROOT}/") if ".mbk" in key or "restore-temp" in key]
    assert not left
    assert not site.uploads(BACKUPS)
    assert not site.uploads(MILVUS)
    record_property(
        "table",
        f"{percent} % of the requests fail, {mode}: {weather.struck} of {len(site.proxy.requests)} requests struck; "
        f"create gave up {created} times, restore {restored}; bytes and rows identical, nothing left over",
    )
