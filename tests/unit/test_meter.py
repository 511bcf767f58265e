"""What a run's events come to while it lasts."""

from __future__ import annotations

import pytest

from mbk.model.events import (
    CollectionFinished,
    ImportProgressed,
    IndexProgressed,
    ObjectCopied,
    ObjectsDeleted,
    PhaseStarted,
    WorkExpected,
    WorkPlanned,
)
from mbk.model.jobs import Step
from mbk.model.states import CollectionState
from mbk.observe.meter import Meter

MIB = 1024 * 1024


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> Meter:
    """Of a run on two collections of 100 objects of 1 MiB."""
    meter = Meter(clock=clock)
    for name in ("a", "b"):
        meter(PhaseStarted(phase="waiting", collection=name))
        meter(WorkExpected(collection=name, objects=100, size=100 * MIB))
    return meter


def copied(meter: Meter, name: str, count: int, how: str = "server") -> None:
    for number in range(count):
        meter(ObjectCopied(collection=name, key=str(number), size=MIB, how=how))


def test_totals_are_known_before_the_first_byte(meter: Meter) -> None:
    told = meter.progress()
    assert (told.objects_total, told.bytes_total, told.collections_total) == (200, 200 * MIB, 2)
    assert (told.phase, told.percent, told.seconds_left) == ("", 1, None)


def test_what_turns_out_to_be_more_or_less_corrects_the_totals(meter: Meter) -> None:
    meter(WorkPlanned(collection="a", objects=150, size=150 * MIB))
    assert meter.progress().objects_total == 250
    copied(meter, "a", 150)
    copied(meter, "b", 40)
    meter(CollectionFinished(collection="b", outcome=CollectionState.DONE))
    told = meter.progress()
    assert (told.objects, told.objects_total, told.bytes_total) == (190, 190, 190 * MIB)
    assert (told.collections, told.collections_total) == (1, 2)


def test_no_time_is_told_before_it_means_something(meter: Meter, clock: Clock) -> None:
    copied(meter, "a", 20)
    assert meter.progress().seconds_left is None
    clock.now = 20
    told = meter.progress()
    assert (told.rate, told.seconds_left) == (MIB, 180)


def test_what_an_earlier_run_copied_says_nothing_about_the_rate(meter: Meter, clock: Clock) -> None:
    copied(meter, "a", 100, how="kept")
    copied(meter, "b", 10)
    clock.now = 20
    assert meter.progress().rate == MIB // 2


def test_no_time_is_told_while_a_collection_is_unknown(meter: Meter, clock: Clock) -> None:
    meter(PhaseStarted(phase="waiting", collection="c"))
    copied(meter, "a", 20)
    clock.now = 20
    assert meter.progress().seconds_left is None


def test_a_rate_is_that_of_lately(meter: Meter, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 1
        copied(meter, "a", 1)
        meter.progress()
    clock.now += 100
    meter.progress()
    assert meter.progress().rate < MIB // 2


def test_import_jobs_are_known_beforehand_and_failed_ones_make_room() -> None:
    meter = Meter(restores=True)
    meter(PhaseStarted(phase="waiting", collection="a"))
    meter(WorkExpected(collection="a", objects=0, size=0, jobs=3))
    assert (meter.progress().jobs, meter.progress().jobs_total) == (0, 3)
    meter(PhaseStarted(phase="import", collection="a"))
    meter(ImportProgressed(collection="a", job="1", percent=100))
    meter(ImportProgressed(collection="a", job="2", percent=50))
    assert (meter.progress().jobs, meter.progress().percent) == (1, 50)
    assert meter.progress().steps == (Step("a", "import", 1, 3, 50),)
    meter(ImportProgressed(collection="a", job="2", percent=0, failed=True))
    for job in ("3", "4", "5"):
        meter(ImportProgressed(collection="a", job=job, percent=100))
    assert (meter.progress().jobs, meter.progress().jobs_total) == (4, 4)
    meter(PhaseStarted(phase="index", collection="a"))
    meter(IndexProgressed(collection="a", rows=10, total=30))
    assert meter.progress().steps == (Step("a", "index", 10, 30),)


def test_a_deletion_is_counted() -> None:
    meter = Meter()
    meter(WorkExpected(collection="", objects=2000))
    meter(ObjectsDeleted(objects=1000))
    told = meter.progress()
    assert (told.objects, told.objects_total, told.percent, told.collections_total) == (1000, 2000, 50, 0)


def test_what_nobody_knows_is_no_total() -> None:
    meter = Meter()
    meter(WorkExpected(collection=""))
    meter(ObjectsDeleted(objects=1000))
    assert (meter.progress().objects, meter.progress().objects_total) == (1000, 0)
