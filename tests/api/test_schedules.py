"""What a server does by itself: when, once, in which order, and what it says of it. The clock is given, nothing waits for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mbk.config.load import load
from mbk.config.schema import Settings
from mbk.errors import Busy, ConfigError, StorageError
from mbk.jobs.definitions import Definitions
from mbk.jobs.runner import Runner
from mbk.jobs.schedule import Schedule, Surroundings, all_of, due, seen
from mbk.jobs.scheduler import Scheduler, ScheduleState
from mbk.jobs.sessions import Sessions
from mbk.jobs.store import Store
from mbk.model.jobs import Standing
from mbk.model.states import JobState
from tests.api.harness import PATIENCE, Client, Gate, WorldSession, docs_world, serving, settings
from tests.fakes.world import World
from tests.raising import raised

NIGHT = datetime(2026, 12, 1, 2, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY: Mapping[str, Any] = {"cron": "30 2 * * *"}


# -- when --------------------------------------------------------------------------------------------------------------


def schedule(cron: str = "30 2 * * *", zone: Any = UTC) -> Schedule:
    return Schedule(name="nightly", cron=cron, zone=zone)


def test_a_schedule_that_was_never_seen_waits_for_its_next_occurrence() -> None:
    now = NIGHT + timedelta(hours=3)
    standing = seen(schedule(), None, now)
    assert due(schedule(), standing, now) is None
    assert due(schedule(), standing, NIGHT + timedelta(days=1)) == NIGHT + timedelta(days=1)


def test_of_several_missed_occurrences_the_newest_is_made_up() -> None:
    standing = Standing(handled=NIGHT.timestamp())
    now = NIGHT + timedelta(days=5, hours=4)
    assert due(schedule(), standing, now) == NIGHT + timedelta(days=5)


def test_an_occurrence_is_due_at_its_second_and_not_before() -> None:
    standing = Standing(handled=(NIGHT - timedelta(days=1)).timestamp())
    assert due(schedule(), standing, NIGHT - timedelta(milliseconds=1)) is None
    assert due(schedule(), standing, NIGHT) == NIGHT


def test_a_paused_schedule_is_not_due_unless_it_is_asked_for() -> None:
    now = NIGHT + timedelta(minutes=5)
    paused = Standing(handled=1.0, paused=True)
    assert due(schedule(), paused, now) is None
    asked = Standing(handled=1.0, paused=True, asked=now.timestamp())
    assert due(schedule(), asked, now) == now


def test_an_hour_that_does_not_exist_is_run_when_the_clock_has_skipped_it() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    found = schedule(zone=BERLIN).following(before)
    assert found.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert schedule(zone=BERLIN).latest(found) == found


def test_an_hour_that_exists_twice_is_run_once() -> None:
    day = datetime(2026, 10, 24, 12, tzinfo=BERLIN)
    first = schedule(zone=BERLIN).following(day)
    second = schedule(zone=BERLIN).following(first)
    assert first.date().isoformat() == "2026-10-25"
    assert second.date().isoformat() == "2026-10-26"
    for minutes in range(0, 300, 7):
        now = first.astimezone(UTC) + timedelta(minutes=minutes)
        assert due(schedule(zone=BERLIN), Standing(handled=first.timestamp()), now) is None


@pytest.mark.parametrize("cron", ["*/10 * * * *", "0 * * * *", "30 2 * * *", "30 1 * * *"])
@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/New_York", "2026-11-01"),
        ("Australia/Lord_Howe", "2026-04-04"),
        ("Australia/Lord_Howe", "2026-10-03"),
    ],
)
def test_what_is_announced_is_what_is_due_in_hours_that_are_missing_or_come_twice(
    cron: str, zone: str, day: str
) -> None:
    found = schedule(cron, ZoneInfo(zone))
    now = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(hours=6)
    end = now + timedelta(hours=36)
    announced, moment = [], found.following(now)
    while moment <= end:
        announced.append(moment.astimezone(UTC))
        moment = found.following(moment)
    ran, standing = [], seen(found, None, now)
    while now <= end:
        if (occurrence := due(found, standing, now)) is not None:
            ran.append(occurrence.astimezone(UTC))
            standing = Standing(handled=occurrence.timestamp())
        now += timedelta(minutes=1)
    assert ran == announced


def test_a_clock_that_was_ahead_does_not_stop_a_schedule() -> None:
    ahead = Standing(handled=datetime(2099, 1, 1, tzinfo=UTC).timestamp())
    standing = seen(schedule(), ahead, NIGHT - timedelta(hours=1))
    assert due(schedule(), standing, NIGHT) == NIGHT


def test_the_name_of_a_backup_is_that_of_its_occurrence_in_any_zone() -> None:
    here, there = schedule(), schedule(zone=BERLIN)
    assert here.backup_of(NIGHT) == "nightly_20261201T023000Z"
    assert there.backup_of(NIGHT.astimezone(BERLIN)) == here.backup_of(NIGHT)


# -- the configuration -------------------------------------------------------------------------------------------------


def configured(directory: Path, text: str) -> Mapping[str, Any]:
    path = directory / "backup.yaml"
    path.write_text(f"configVersion: v2\n{text}", encoding="utf-8")
    return load(path, environ={}, cwd=directory).settings.schedules


def test_the_keys_may_be_those_of_the_file_or_of_the_api(tmp_path: Path) -> None:
    found = configured(
        tmp_path,
        "schedules:\n  nightly:\n    cron: '30 2 * * *'\n    timeZone: Europe/Berlin\n"
        "    create: {incremental: true, pauseGc: false, labels: {Team: search}}\n    keep: {keepDaily: 7, keep_weekly: 4}\n",
    )
    schedules, problems = all_of(found, Surroundings())
    assert problems == []
    nightly = schedules["nightly"]
    assert nightly.steps == ("backup", "prune")
    made = nightly.parameters("backup", "b")
    assert made == {
        "incremental": True,
        "pause_gc": False,
        "labels": {"schedule": "nightly", "Team": "search"},
        "name": "b",
    }
    assert nightly.parameters("prune", "b") == {
        "labels": ["schedule=nightly"],
        "keep_daily": 7,
        "keep_weekly": 4,
    }


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({}, "cron"),
        ({"cron": "30 25 * * *"}, "cron"),
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": 5}, "cron"),
        ({**NIGHTLY, "time_zone": "Mars/Olympus"}, "timeZone"),
        ({**NIGHTLY, "backup_name": "always_the_same"}, "backupName"),
        ({**NIGHTLY, "backup_name": "{time}/{schedule}"}, "backupName"),
        ({**NIGHTLY, "create": {"filtre": "a"}}, "create"),
        ({**NIGHTLY, "create": "docs"}, "create"),
        ({**NIGHTLY, "verify": "thoroughly"}, "verify"),
        ({**NIGHTLY, "create": {"name": "mine"}}, "create"),
        ({**NIGHTLY, "create": {"labels": {"schedule": "weekly"}}}, "create"),
        ({**NIGHTLY, "copy": {"path": "x"}}, "copy"),
        ({**NIGHTLY, "copy": {"to_path": "x", "backup": "another"}}, "copy"),
        ({**NIGHTLY, "keep": {"keep_last": 1, "labels": "team=a"}}, "keep"),
        ({**NIGHTLY, "keep": {"keep_daily": -1}}, "keep"),
        ({**NIGHTLY, "keep": {"keep_within": "soon"}}, "keep"),
        ({**NIGHTLY, "notify": "chat"}, "notify"),
        ({**NIGHTLY, "notify": {"succes": "chat"}}, "notify"),
        ({**NIGHTLY, "notify": {"failure": "pager"}}, "notify"),
        ({**NIGHTLY, "notify": {"failure": ["chat", 5]}}, "notify"),
        ({**NIGHTLY, "notify": {"failure": {"chat": "x"}}}, "notify"),
        ({**NIGHTLY, "crom": "x"}, "crom"),
    ],
)
def test_what_cannot_be_is_told_in_the_keys_of_the_user(given: Mapping[str, Any], key: str) -> None:
    schedules, (problem,) = all_of({"nightly": given}, Surroundings(targets=["chat"]))
    assert schedules == {}
    assert problem.key == f"schedules.nightly.{key}"


@pytest.mark.parametrize(
    "text",
    [
        "schedules: [a]",
        "schedules: {nightly: daily}",
        "schedules: {Nightly!: {cron: '* * * * *'}}",
        "schedules: &all {nightly: {create: *all}}",
    ],
)
def test_a_section_of_another_form_is_a_problem(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as found:
        configured(tmp_path, text)
    assert str(found.value.problems[0].key).startswith("schedules")


def test_a_server_does_not_start_with_a_schedule_that_cannot_be(tmp_path: Path) -> None:
    wrong = settings(tmp_path).model_copy(update={"schedules": {"nightly": {"cron": "never"}}})
    with pytest.raises(ConfigError) as found, serving(wrong, docs_world()):
        raise AssertionError("it serves")
    assert found.value.problems[0].key == "schedules.nightly.cron"


# -- running -----------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A runner and its scheduler on a world, with a clock that the test sets."""

    world: World
    settings: Settings
    schedules: Mapping[str, Schedule]
    now: datetime = NIGHT - timedelta(minutes=1)
    #: The target and the news of each notification.
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.runner = Runner(
            Store(Path(self.settings.server.jobs_file)),
            Sessions(self.settings, open=lambda given: WorldSession(given, lambda: self.world)),
        )
        self.runner.start()
        self.definitions = Definitions(self.runner.sessions, self.schedules)
        self.scheduler = Scheduler(
            self.runner, self.definitions, clock=lambda: self.now.timestamp(), tell=self._tell
        )

    def _tell(self, news: Mapping[str, Any], targets: Collection[str]) -> None:
        self.told += [(target, dict(news)) for target in targets]

    def close(self) -> None:
        self.runner.stop()
        self.runner.sessions.close()
        self.runner.store.close()

    def look(self) -> ScheduleState:
        self.scheduler.look()
        return self.state

    @property
    def state(self) -> ScheduleState:
        return self.scheduler.state("nightly")

    def finish(self) -> ScheduleState:
        """Looks until nothing is under way."""
        for _ in range(20):
            state = self.look()
            if not state.standing.is_running:
                return state
            self.runner.over(state.standing.job).result(PATIENCE)
        raise AssertionError("it never ends")

    @property
    def backups(self) -> dict[str, Any]:
        with self.runner.sessions.opened() as session:
            return {item.name: item for item in session.list()}

    @property
    def kinds(self) -> list[str]:
        return [job.kind for job in reversed(self.runner.store.page())]


def failing(operation: str, what: str) -> None:
    if operation == "write" and "meta" in what:
        raise StorageError("the disk is gone", code="gone")


@contextmanager
def site(directory: Path, *, world: World | None = None, **given: Any) -> Iterator[Site]:
    schedules, problems = all_of({"nightly": {**NIGHTLY, **given}}, Surroundings(targets=None))
    assert problems == []
    found = Site(world or docs_world(), settings(directory), schedules)
    try:
        found.look()
        yield found
    finally:
        found.close()


def test_a_run_backs_up_verifies_copies_and_prunes_in_this_order(tmp_path: Path) -> None:
    with site(tmp_path, verify="digests", copy={"to_path": "second"}, keep={"keep_last": 1}) as found:
        assert found.backups == {}
        found.now = NIGHT
        state = found.finish()
        assert (state.standing.result, state.standing.reason) == ("succeeded", "")
        assert found.kinds == ["backup", "verify", "copy", "prune"]
        found.now = NIGHT + timedelta(days=1)
        found.finish()
        assert [*found.backups] == ["nightly_20261202T023000Z"]
        assert found.backups["nightly_20261202T023000Z"].labels == {"schedule": "nightly"}
        with found.runner.sessions.opened(path="second") as second:
            assert [item.name for item in second.list()] == [
                "nightly_20261201T023000Z",
                "nightly_20261202T023000Z",
            ]


def test_a_prune_leaves_the_backups_of_others_alone(tmp_path: Path) -> None:
    with site(tmp_path, keep={"keep_last": 1}) as found:
        with found.runner.sessions.opened() as session:
            session.create("by_hand")
        for day in range(3):
            found.now = NIGHT + timedelta(days=day)
            found.finish()
        assert [*found.backups] == ["by_hand", "nightly_20261203T023000Z"]


@pytest.mark.parametrize("labels", [None, [], ["team=search"]])
def test_no_labels_of_its_own_make_a_prune_look_at_the_backups_of_others(
    tmp_path: Path, labels: list[str] | None
) -> None:
    create = {"labels": {"team": "search"}}
    with site(tmp_path, create=create, keep={"keep_last": 1, "labels": labels}) as found:
        with found.runner.sessions.opened() as session:
            session.create("by_hand", labels={"team": "search"})
        for day in range(2):
            found.now = NIGHT + timedelta(days=day)
            found.finish()
        assert [*found.backups] == ["by_hand", "nightly_20261202T023000Z"]


def test_nothing_is_pruned_after_a_backup_that_failed(tmp_path: Path) -> None:
    with site(tmp_path, keep={"keep_last": 1}) as found:
        found.now = NIGHT
        found.finish()
        found.now = NIGHT + timedelta(days=1)
        found.world.backup.fault = failing
        state = found.finish()
        assert state.standing.result == "failed"
        assert "backup" in state.standing.reason
        assert state.standing.succeeded < state.standing.ended
        assert found.kinds == ["backup", "prune", "backup"]


def test_a_run_that_is_still_under_way_makes_the_next_one_skipped(tmp_path: Path) -> None:
    with site(tmp_path, cron="* * * * *") as found:
        found.now = NIGHT
        first = found.look().standing
        assert first.is_running
        found.now = NIGHT + timedelta(minutes=1)
        second = found.look().standing
        assert second.skipped + (0 if second.is_running else 1) >= 1
        assert found.kinds.count("backup") == 1


def test_a_killed_server_goes_on_where_it_was_and_counts_nothing_twice(tmp_path: Path) -> None:
    with site(tmp_path, keep={"keep_last": 3}) as found:
        found.now = NIGHT
        saved = found.runner.store.save_standing
        # Killed after the job was stored, before its id was.
        found.runner.store.save_standing = lambda *_: None  # type: ignore[method-assign]  # the kill
        found.scheduler.look()
        found.runner.store.save_standing = saved  # type: ignore[method-assign]  # the end of the kill
        found.close()
        found.open()
        state = found.finish()
        assert state.standing.result == "succeeded"
        assert [*found.backups] == ["nightly_20261201T023000Z"]
        assert found.kinds == ["backup", "prune"]


def test_an_interrupted_run_is_resumed_by_the_next_server(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        found.now = NIGHT
        job = found.look().standing.job
        found.close()
        found.open()
        state = found.finish()
        assert state.standing.result == "succeeded"
        assert found.runner.get(job).state is JobState.SUCCEEDED
        assert found.kinds == ["backup"]


def test_of_two_servers_one_makes_the_backup(tmp_path: Path) -> None:
    world = docs_world()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with site(tmp_path / "one", world=world) as one, site(tmp_path / "two", world=world) as two:
        one.now = two.now = NIGHT
        states = [one.finish(), two.finish()]
        assert [state.standing.result for state in states] == ["succeeded", "elsewhere"]
        assert len(one.backups) == 1


def test_a_backup_that_another_server_never_ends_is_no_success(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        with found.runner.sessions.opened() as session:
            session.create("nightly_20261201T023000Z")
        found.world.backup.delete(["backup/nightly_20261201T023000Z/meta/full_meta.json"])
        found.now = NIGHT
        found.look()
        for _ in range(200):
            standing = found.look().standing
            if standing.step == "elsewhere":
                break
            if standing.job:
                found.runner.over(standing.job).result(PATIENCE)
        assert found.look().standing.is_running, "it may still be made"
        found.now = NIGHT + timedelta(hours=23, minutes=59)
        assert found.look().standing.is_running
        found.now = NIGHT + timedelta(hours=24, minutes=1)
        found.scheduler.look()
        standing = found.state.standing
        assert (standing.result, standing.succeeded) == ("failed", 0.0)


def test_a_missed_night_is_made_up_once(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        found.close()
        found.now = NIGHT + timedelta(days=4, hours=8)
        found.open()
        found.finish()
        found.finish()
        assert [*found.backups] == ["nightly_20261205T023000Z"]


def test_a_damaged_record_of_a_schedule_begins_anew(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        found.runner.store._db.execute("UPDATE schedules SET body = '{\"handled\": '")
        assert not found.look().standing.is_running
        found.now = NIGHT
        assert found.finish().standing.result == "succeeded"


def test_a_run_by_hand_and_a_pause(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        found.scheduler.pause("nightly", paused=True)
        assert found.state.following == 0.0
        found.now = NIGHT + timedelta(minutes=3)
        assert not found.look().standing.is_running
        found.scheduler.run("nightly")
        assert found.look().standing.is_running
        with raised(Busy, "schedule-running", schedule="nightly"):
            found.scheduler.run("nightly")
        assert found.finish().standing.result == "succeeded"
        found.now += timedelta(hours=2)
        found.scheduler.pause("nightly", paused=False)
        assert not found.look().standing.is_running, "what was missed meanwhile is not made up"


def test_two_runs_by_hand_within_one_second_are_two(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        for _ in range(2):
            found.scheduler.run("nightly")
            assert found.finish().standing.result == "succeeded"
        assert len(found.backups) == 2


def test_a_clock_that_steps_back_during_a_run_skips_nothing(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        found.now = NIGHT
        found.look()
        found.now = NIGHT - timedelta(seconds=30)
        found.look()
        found.now = NIGHT + timedelta(seconds=1)
        standing = found.finish().standing
        assert (standing.result, standing.skipped) == ("succeeded", 0)
        assert len(found.backups) == 1


# -- who is told -------------------------------------------------------------------------------------------------------

EVERYTHING = {"success": "chat", "failure": ["chat", "pager"], "skipped": "chat", "missed": ["pager"]}


def news(found: Site) -> list[tuple[str, str]]:
    return [(target, told["event"]) for target, told in found.told]


def test_the_end_of_a_run_is_told_to_whom_it_concerns(tmp_path: Path) -> None:
    with site(tmp_path, keep={"keep_last": 1}, notify=EVERYTHING) as found:
        found.now = NIGHT
        found.finish()
        found.now = NIGHT + timedelta(days=1)
        found.world.backup.fault = failing
        found.finish()
        assert news(found) == [("chat", "success"), ("chat", "failure"), ("pager", "failure")]
        (_, good), (_, bad), _ = found.told
        assert (good["schedule"], good["backup"]) == ("nightly", "nightly_20261201T023000Z")
        assert (good["result"], good["reason"], good["began"]) == ("succeeded", None, NIGHT.isoformat())
        assert (bad["result"], "the disk is gone" in bad["reason"]) == ("failed", True)


def test_an_occurrence_that_is_skipped_is_told(tmp_path: Path) -> None:
    with site(tmp_path, cron="* * * * *", notify={"skipped": "chat"}) as found:
        gate = Gate("write", "meta")
        found.now, found.world.backup.fault = NIGHT, gate
        found.look()
        assert gate.reached.wait(PATIENCE)
        found.now += timedelta(minutes=1)
        found.look()
        gate.open.set()
        found.finish()
        (told,) = [told for _, told in found.told if told["event"] == "skipped"]
        assert told["occurrence"] == (NIGHT + timedelta(minutes=1)).isoformat()
        assert (told["backup"], told["result"]) == ("nightly_20261201T023000Z", None)


def test_what_was_missed_is_told_once_with_the_run_that_makes_up_for_it(tmp_path: Path) -> None:
    with site(tmp_path, notify=EVERYTHING) as found:
        found.close()
        found.now = NIGHT + timedelta(days=2, hours=8)
        found.open()
        state = found.finish()
        assert news(found) == [("pager", "missed"), ("chat", "success")]
        assert state.standing.missed == NIGHT.timestamp()
        _, told = found.told[0]
        assert (told["occurrence"], told["backup"]) == (NIGHT.isoformat(), "nightly_20261203T023000Z")
        found.now = NIGHT + timedelta(days=3, seconds=20)
        assert found.finish().standing.missed == 0.0
        assert news(found)[2:] == [("chat", "success")]


def test_a_run_by_hand_makes_up_for_nothing(tmp_path: Path) -> None:
    with site(tmp_path, notify=EVERYTHING) as found:
        found.now = NIGHT + timedelta(hours=5)
        found.scheduler.run("nightly")
        found.finish()
        assert news(found) == [("chat", "success")]


def test_of_two_servers_the_one_that_makes_the_backup_tells_it(tmp_path: Path) -> None:
    world = docs_world()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        site(tmp_path / "one", world=world, notify=EVERYTHING) as one,
        site(tmp_path / "two", world=world, notify=EVERYTHING) as two,
    ):
        one.now = two.now = NIGHT + timedelta(hours=2)
        for item in (one, two):
            item.finish()
        assert (news(one), news(two)) == ([("pager", "missed"), ("chat", "success")], [])


def test_a_killed_server_tells_nobody_twice(tmp_path: Path) -> None:
    with site(tmp_path, notify=EVERYTHING) as found:
        found.now = NIGHT
        found.finish()
        for _ in range(2):
            found.close()
            found.open()
            found.finish()
        assert news(found) == [("chat", "success")]


# -- over REST ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    given = {"nightly": {**NIGHTLY, "time_zone": "Europe/Berlin", "keep": {"keep_last": 2}}}
    with serving(settings(tmp_path).model_copy(update={"schedules": given}), docs_world()) as found:
        yield found


def test_schedules_are_told_run_and_paused_over_rest(client: Client) -> None:
    (listed,) = client.get("/api/v2/schedules")["items"]
    assert (listed["name"], listed["time_zone"], listed["steps"]) == (
        "nightly",
        "Europe/Berlin",
        ["backup", "prune"],
    )
    assert listed["last"] is None
    client.post("/api/v2/schedules/nightly:run")
    last: Any = client.until(lambda: ended(client))
    assert last["result"] == "succeeded"
    assert client.get("/api/v2/backups")["items"][0]["name"] == last["backup"]
    text = client.ask("GET", "/metrics").text
    assert 'mbk_schedule_last_good{schedule="nightly"} 1.0' in text
    assert client.post("/api/v2/schedules/nightly:pause")["next"] is None
    assert client.post("/api/v2/schedules/nightly:resume")["paused"] is False
    client.problem(404, "GET", "/api/v2/schedules/weekly")


def ended(client: Client) -> Any:
    last = client.get("/api/v2/schedules/nightly")["last"]
    return last if last and last["ended"] else None
