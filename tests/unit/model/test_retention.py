"""Which backups stay and which go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbk.errors import UsageError
from mbk.model.labels import tests_of as label_tests
from mbk.model.reports import BackupSummary, Pin, Verification
from mbk.model.retention import Rules, decide, end_of, is_whole, span_of, zone_of
from mbk.model.states import BackupState, Depth
from tests.raising import raised

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def made(
    name: str, when: datetime | None, state: BackupState = BackupState.COMPLETE, **more
) -> BackupSummary:
    return BackupSummary(name, state, created=when, **more)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def nightly(count: int) -> list[BackupSummary]:
    return [made(f"night_{days}", ago(days=days)) for days in range(count)]


def staying(backups: list[BackupSummary], rules: Rules, now: datetime = NOW) -> list[str]:
    return [item.backup.name for item in decide(backups, rules, now) if not item.goes]


def why(backups: list[BackupSummary], rules: Rules, name: str) -> tuple[str, ...]:
    return next(item.reasons for item in decide(backups, rules, NOW) if item.backup.name == name)


def test_the_newest_of_each_period_stays() -> None:
    backups = [made("late", ago(hours=1)), made("early", ago(hours=2)), *nightly(40)[1:]]
    assert staying(backups, Rules(last=2)) == ["late", "early"]
    assert staying(backups, Rules(daily=3)) == ["late", "night_1", "night_2"]
    assert staying(backups, Rules(weekly=2)) == ["late", "night_2"]  # 2026-12-01 is a Tuesday
    assert staying(backups, Rules(monthly=2)) == ["late", "night_1"]
    assert staying(backups, Rules(yearly=1, hourly=2)) == ["late", "early"]


def test_periods_without_a_backup_do_not_count() -> None:
    backups = [made("new", ago(days=1)), made("old", ago(days=300)), made("older", ago(days=500))]
    assert staying(backups, Rules(daily=2)) == ["new", "old"]


def test_a_day_begins_where_its_people_live() -> None:
    backups = [
        made("b", datetime(2026, 11, 30, 23, 30, tzinfo=UTC)),
        made("a", datetime(2026, 11, 30, 22, 30, tzinfo=UTC)),
    ]
    assert staying(backups, Rules(daily=2)) == ["b"]
    assert staying(backups, Rules(daily=2, zone=zone_of("Europe/Berlin", "zone"))) == ["b", "a"]


def test_a_clock_that_jumped_ahead_makes_nothing_old() -> None:
    rules = Rules(within=timedelta(days=30))
    assert staying(nightly(10), rules, NOW + timedelta(days=3650)) == [item.name for item in nightly(10)]
    ahead = made("ahead", NOW + timedelta(days=3650), written=NOW)
    assert {*staying([ahead, *nightly(10)], rules)} == {"ahead", *(item.name for item in nightly(10))}


def test_nothing_goes_because_the_backups_stopped() -> None:
    old = [made(f"b{days}", ago(days=days)) for days in (100, 101, 140)]
    assert staying(old, Rules(within=timedelta(days=30))) == ["b100", "b101"]


def test_what_lacks_something_takes_no_place() -> None:
    backups = [
        made("partial", ago(days=1), BackupState.PARTIAL),
        made("damaged", ago(days=2), verified=Verification(NOW, Depth.CONTENTS, findings=3)),
        made("good", ago(days=3)),
        made("older", ago(days=4)),
    ]
    assert staying(backups, Rules(last=1)) == ["partial", "damaged", "good"]
    assert "no complete one is a day newer" in why(backups, Rules(last=1), "partial")[0]


def test_what_lacks_something_goes_once_a_complete_one_is_a_day_newer() -> None:
    backups = [
        made("good", ago(days=1)),
        made("just", ago(days=1, hours=23), BackupState.INCOMPLETE),
        made("partial", ago(days=3), BackupState.PARTIAL),
        made("damaged", ago(days=3), verified=Verification(NOW, Depth.CONTENTS, findings=3)),
    ]
    assert staying(backups, Rules(last=9)) == ["good", "just"]


def test_the_newest_verified_one_stays() -> None:
    verified = made("proven", ago(days=9), verified=Verification(NOW, Depth.CONTENTS))
    assert staying([*nightly(5), verified], Rules(last=1)) == ["night_0", "proven"]


def test_what_nobody_can_judge_stays() -> None:
    backups = [*nightly(3), made("timeless", None), made("torn", ago(days=50), BackupState.UNREADABLE)]
    assert staying(backups, Rules(last=1)) == ["night_0", "torn", "timeless"]


def test_pins_and_labels_keep() -> None:
    backups = [
        *nightly(3),
        made("pinned", ago(days=50), pin=Pin()),
        made("until", ago(days=51), pin=Pin(NOW + timedelta(days=1))),
        made("over", ago(days=52), pin=Pin(ago(days=3))),
        made("labelled", ago(days=53), labels={"keep": "yes"}),
    ]
    rules = Rules(last=1, labels=label_tests(["keep"], "keep"))
    assert staying(backups, rules) == ["night_0", "pinned", "until", "labelled"]


BACKUPS = st.lists(
    st.builds(
        BackupSummary,
        name=st.uuids().map(str),
        state=st.sampled_from(BackupState),
        created=st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
        written=st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
        pin=st.none() | st.just(Pin()),
        verified=st.none()
        | st.builds(Verification, st.just(NOW), st.just(Depth.CONTENTS), st.integers(0, 1)),
    ),
    max_size=12,
    unique_by=lambda item: item.name,
)
RULES = st.builds(
    Rules,
    last=st.integers(0, 3),
    daily=st.integers(0, 3),
    monthly=st.integers(0, 3),
    within=st.timedeltas(timedelta(), timedelta(days=400)),
)


@given(BACKUPS, RULES, st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))
def test_whatever_the_rules_and_the_clock_a_good_backup_is_left(
    backups: list[BackupSummary], rules: Rules, now: datetime
) -> None:
    decisions = decide(backups, rules, now)
    assert sorted(item.backup.name for item in decisions) == sorted(item.name for item in backups)
    left = [item.backup for item in decisions if not item.goes]
    good = [item for item in backups if is_whole(item) and item.created]
    assert any(is_whole(item) and item.created for item in left) == bool(good)
    assert all(item in left for item in backups if item.pin)
    assert len([item for item in left if item in good]) >= min(rules.last, len(good))


@pytest.mark.parametrize(("text", "span"), [("12h", 0.5), ("30d", 30), ("2w", 14), ("1m", 31), ("1y", 366)])
def test_spans_are_read(text: str, span: float) -> None:
    assert span_of(text, "keep_within") == timedelta(days=span)


@pytest.mark.parametrize("text", ["", "5", "5x", "-3d", "1.5d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with raised(UsageError, "span-invalid", option="keep_within"):
        span_of(text, "keep_within")


def test_an_end_is_a_date_or_a_span() -> None:
    assert end_of("2027-06-30", "until") == datetime(2027, 6, 30, tzinfo=UTC)
    assert end_of("90d", "until") > datetime.now(UTC) + timedelta(days=89)
    with raised(UsageError, "end-invalid", value="soon"):
        end_of("soon", "until")
