"""`prune` deletes what no rule keeps and nothing else; `pin` keeps a backup from everybody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mbk.engine.operations import pin, prune, verify
from mbk.engine.repository import pins
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.lease import hold
from mbk.errors import BackupPinned, InvalidBackup, PartialFailure, StorageError, UsageError
from mbk.model.layout import PINNED
from mbk.model.options import CreateOptions, PinOptions, PruneOptions, VerifyOptions
from mbk.model.reports import Pin, PruneReport
from mbk.model.states import BackupState
from tests.fakes.world import Killed, Life, World
from tests.raising import raised

NOW = datetime.now(UTC)
KEEP_NEWEST = PruneOptions(keep_last=1)


@pytest.fixture
def world() -> World:
    """Three backups; the newest is ``c``, as the label says that all tests go by."""
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    for name in "abc":
        world.create(name, labels={"name": name})
    return world


def keeping(*names: str) -> PruneOptions:
    return PruneOptions(keep_labels=[f"name={name}" for name in names])


def pruned(world: World, options: PruneOptions) -> PruneReport:
    return prune.execute(world.context(), "", options)


def names(world: World) -> list[str]:
    return [item.name for item in world.catalog().summaries()]


def outcomes(report: PruneReport) -> dict[str, str]:
    return {item.name: item.outcome for item in report.backups}


def newest(world: World) -> str:
    """The one that is never deleted; of backups of one second any may be."""
    made = prune.plan(world.context(), "", KEEP_NEWEST)
    return next(item.backup.name for item in made.decisions if not item.goes)


def test_what_no_rule_keeps_is_deleted_with_all_its_objects(world: World) -> None:
    kept = newest(world)
    report = pruned(world, KEEP_NEWEST)
    assert names(world) == [kept]
    assert all(
        key.startswith(f"backup/{kept}/") for key in world.backed_up if not key.startswith("backup/.mbk")
    )
    assert sorted(outcomes(report).values()) == ["deleted", "deleted", "kept"]
    assert report.freed > 0
    assert report.deleted_objects > 0


def test_a_plan_deletes_nothing_and_says_why(world: World) -> None:
    before = dict(world.backed_up)
    context = world.context()
    plan = prune.preview(context, prune.plan(context, "", KEEP_NEWEST))
    assert world.backed_up == before
    assert sorted((item.outcome, bool(item.reasons)) for item in plan.backups) == [
        ("kept", True),
        ("planned", True),
        ("planned", True),
    ]
    assert plan.size == sum(item.size or 0 for item in plan.backups if item.outcome == "planned")


def test_without_a_rule_nothing_is_deleted(world: World) -> None:
    with raised(UsageError, "retention-without-rules"):
        pruned(world, PruneOptions())
    assert names(world) == ["a", "b", "c"]


def test_labels_keep_and_a_filter_leaves_the_others_out(world: World) -> None:
    assert outcomes(pruned(world, PruneOptions(keep_last=1, labels=["name=b"]))) == {"b": "kept"}
    pruned(world, keeping("a", "b", "c"))
    assert names(world) == ["a", "b", "c"]
    pruned(world, keeping("a"))
    assert "a" in names(world)


def test_a_pinned_backup_is_deleted_by_nobody(world: World) -> None:
    pin.execute(world.context(), "a", PinOptions(reason="an audit"))
    pruned(world, keeping("b"))
    assert "a" in names(world)
    with raised(BackupPinned, "backup-pinned", backup="a"):
        world.delete("a")
    pin.execute(world.context(), "a", PinOptions(remove=True))
    world.delete("a")
    assert "a" not in names(world)


def test_a_pin_ends_with_its_time(world: World) -> None:
    world.backup.write(f"backup/a/meta/{PINNED}", [pins.encoded(Pin(NOW - timedelta(seconds=1)), "")])
    world.delete("a")
    assert "a" not in names(world)


def test_a_pin_that_cannot_be_read_keeps_the_backup(world: World) -> None:
    world.backup.write(f"backup/a/meta/{PINNED}", [b"\x00 torn"])
    with raised(BackupPinned, "backup-pinned"):
        world.delete("a")


def test_a_pin_is_no_damage_and_goes_with_its_backup(world: World) -> None:
    pin.execute(world.context(), "a", PinOptions(until="1h"))
    assert verify.execute(world.context(), "a", VerifyOptions()).is_whole
    pin.execute(world.context(), "a", PinOptions(remove=True))
    world.delete("a")
    assert not [key for key in world.backed_up if key.startswith("backup/a/")]


def test_what_was_never_completed_is_not_pinned(world: World) -> None:
    life = Life(ends_at=60)
    world.live(life)
    with pytest.raises(Killed):
        world.create("torn")
    world.live(Life())
    with raised(InvalidBackup, "pin-incomplete", backup="torn"):
        pin.execute(world.context(), "torn", PinOptions())


def test_what_a_run_works_on_stays(world: World) -> None:
    kept = newest(world)
    busy = next(name for name in "abc" if name != kept)
    with hold(world.backup, busy, "copy", world.run(), pace=world.pace.lease):
        report = pruned(world, KEEP_NEWEST)
    assert sorted(names(world)) == sorted([kept, busy])
    told = next(item for item in report.backups if item.name == busy)
    assert told.outcome == "kept"
    assert "in progress" in told.reasons[0]


def verified(world: World, name: str) -> None:
    verify.execute(world.context(), name, VerifyOptions())


def pinned(world: World, name: str) -> None:
    pin.execute(world.context(), name, PinOptions())


def made_anew(world: World, name: str) -> None:
    world.delete(name)
    world.create(name)


@pytest.mark.parametrize("change", [verified, pinned, made_anew])
def test_what_changes_after_the_decision_stays(
    change: Callable[[World, str], None], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not what was decided about."""
    kept = newest(world)
    chosen = next(name for name in "abc" if name != kept)
    decide = prune.plan

    def then_changed(context: Context, name: str, options: PruneOptions, **more: Any) -> prune.PrunePlan:
        made = decide(context, name, options, **more)
        change(world, chosen)
        return made

    monkeypatch.setattr(prune, "plan", then_changed)
    pruned(world, KEEP_NEWEST)
    assert sorted(names(world)) == sorted([kept, chosen])


def test_one_that_cannot_be_deleted_does_not_keep_the_others(world: World) -> None:
    kept = newest(world)
    stuck, gone = (name for name in "abc" if name != kept)

    def fault(operation: str, what: str) -> None:
        if operation == "delete" and f"/{stuck}/" in what:
            raise StorageError("it does not go", retryable=False)

    world.backup.fault = fault
    with raised(PartialFailure, "prune-partial") as caught:
        pruned(world, KEEP_NEWEST)
    assert gone not in names(world)
    report = caught.value.report
    assert isinstance(report, PruneReport)
    assert outcomes(report) == {kept: "kept", stuck: "failed", gone: "deleted"}


def test_killed_at_any_call_a_run_deletes_only_what_should_go_and_the_next_one_ends_it(world: World) -> None:
    kept, counting, whole = newest(world), Life(), world.copy()
    whole.live(counting)
    pruned(whole, KEEP_NEWEST)
    for call in range(1, counting.operations):
        twin = world.copy()
        twin.live(Life(ends_at=call))
        with pytest.raises(Killed):
            pruned(twin, KEEP_NEWEST)
        twin.live(Life())
        states = {item.name: item.state for item in twin.catalog().summaries()}
        assert states[kept] is BackupState.COMPLETE
        late = datetime.now(UTC) + timedelta(days=2)
        twin.create("next")
        prune.execute(twin.context(), "", keeping(kept), at=late)
        left = {item.name: item.state for item in twin.catalog().summaries()}
        assert left[kept] is BackupState.COMPLETE
        assert {name for name, state in left.items() if state is BackupState.COMPLETE} <= {kept, "next"}


def test_another_prune_at_the_same_time_is_no_change_and_frees_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = prune.plan
    first: list[PruneReport] = []

    def after_the_first(context: Context, name: str, options: PruneOptions, **more: Any) -> prune.PrunePlan:
        made = decide(context, name, options, **more)
        monkeypatch.setattr(prune, "plan", decide)
        first.append(pruned(world, KEEP_NEWEST))
        return made

    monkeypatch.setattr(prune, "plan", after_the_first)
    second = pruned(world, KEEP_NEWEST)
    assert outcomes(second) == outcomes(first[0])
    assert (second.freed, second.deleted_objects) == (0, 0)
    assert {item.reasons for item in second.backups if item.outcome == "deleted"} == {
        ("another run deleted it",)
    }


def test_what_nobody_was_shown_stays(world: World) -> None:
    """Between a question and its answer other backups may have ended."""
    kept = newest(world)
    shown, unseen = (name for name in "abc" if name != kept)
    report = pruned(world, KEEP_NEWEST.confirmed([shown]))
    assert outcomes(report) == {kept: "kept", shown: "deleted", unseen: "kept"}
    assert outcomes(pruned(world, KEEP_NEWEST.confirmed([]))) == {kept: "kept", unseen: "kept"}
    with raised(UsageError, "option-type-wrong", option="only"):
        PruneOptions(keep_last=1, only="a")


def test_a_pin_says_its_end_in_utc(world: World) -> None:
    pin.execute(world.context(), "a", PinOptions(until="2999-06-30T12:00+02:00"))
    with raised(BackupPinned, "backup-pinned", until=" until 2999-06-30T10:00:00Z"):
        world.delete("a")


@pytest.mark.parametrize("until", ["2020-01-01", "0d", datetime(2020, 1, 1)], ids=str)
def test_a_pin_that_would_keep_nothing_is_refused(until: str | datetime) -> None:
    with raised(UsageError, "end-passed", option="until"):
        PinOptions(until=until)


def test_an_empty_list_is_not_taken_for_all_backups() -> None:
    for given in ({"labels": []}, {"keep_labels": []}, {"labels": [" "]}, {"labels": iter(())}):
        with raised(UsageError, "option-list-empty"):
            PruneOptions(keep_last=1, **given)


def test_any_length_of_time_can_be_given_but_none_before_now(world: World) -> None:
    assert set(outcomes(pruned(world, PruneOptions(keep_within="999999y"))).values()) == {"kept"}
    with raised(UsageError, "span-invalid"):
        PruneOptions(keep_within=timedelta(days=-1))


def test_a_label_has_one_value() -> None:
    assert CreateOptions(labels=["a=1", "a=1"]).labels == {"a": "1"}
    with raised(UsageError, "label-twice", key="a"):
        CreateOptions(labels=["a=1", "a=2"])


def test_old_versions_go_too_if_asked_for(world: World) -> None:
    bucket = world.service.buckets["backups"]
    bucket.versioned = True
    told = pruned(world, KEEP_NEWEST)
    assert told.deleted_versions == 0
    assert any("--versions" in notice for notice in told.notices)
    kept = newest(world)
    world.create("next", labels={"name": "next"})
    gone = pruned(world, PruneOptions(keep_last=1, versions=True))
    assert gone.deleted_versions > 0
    (name,) = (item.name for item in gone.backups if item.outcome == "deleted")
    assert name in (kept, "next")
    assert not [key for key in bucket.objects if key.startswith(f"backup/{name}/")]


def test_a_resumed_run_keeps_the_labels_and_changes_those_that_it_names(world: World) -> None:
    world.live(Life(ends_at=60))
    with pytest.raises(Killed):
        world.create("torn", labels={"team": "search", "tier": "1"})
    world.live(Life())
    with raised(UsageError, "labels-too-many"):
        world.create("torn", resume=True, labels=[f"label_{number}=x" for number in range(31)])
    world.create("torn", resume=True, labels={"team": "ads"})
    summary = world.catalog().summary("torn")
    assert summary is not None
    assert summary.labels == {"team": "ads", "tier": "1"}
