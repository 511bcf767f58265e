from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mbk.model.rates import Bandwidth, RequestRate, byte_rate, time_zone
from mbk.ports.storage import GIB, MIB


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("200", 200),
        ("200/s", 200),
        (" 2.5 ", 2.5),
        ("3000/min", 50),
        ("unlimited", None),
        ("UNLIMITED", None),
    ],
)
def test_requests_a_second(text: str, limit: float | None) -> None:
    assert RequestRate.parse(text).limit == limit
    assert RequestRate.parse(str(RequestRate.parse(text))).limit == limit


@pytest.mark.parametrize(
    "text", ["", "0", "0/s", "-5", "fast", "5/h", "1e3", "nan", "inf", "200 MiB/s", "5,000"]
)
def test_nonsense_is_no_rate_of_requests(text: str) -> None:
    with pytest.raises(ValueError, match="expected requests a second"):
        RequestRate.parse(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("50MiB/s", 50 * MIB),
        ("50MiB", 50 * MIB),
        ("50MB/s", 50 * MIB),
        ("50m", 50 * MIB),
        ("1.5 GiB/s", GIB * 3 // 2),
        ("1000", 1000),
        ("1000B/s", 1000),
        ("400Mbit/s", 50_000_000),
        ("1Gbit", 125_000_000),
        ("unlimited", None),
    ],
)
def test_bytes_a_second(text: str, limit: int | None) -> None:
    assert byte_rate(text) == limit
    assert Bandwidth.parse(text) == Bandwidth(limit)
    assert Bandwidth.parse(str(Bandwidth(limit))) == Bandwidth(limit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0MiB/s",
        "-1M",
        "fast",
        "50MiB/h",
        "50 apples",
        "1bit/s",
        "08:00-18:00",
        "08:00 50M",
        "50M,60M",
    ],
)
def test_nonsense_is_no_bandwidth(text: str) -> None:
    with pytest.raises(ValueError, match="expected a rate such as"):
        Bandwidth.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8-18 5M", "a time of day such as 08:00, not '8'"),
        ("08:00-25:00 5M", "a time of day"),
        ("08:00-24:01 5M", "a time of day"),
        ("08:00-08:00 5M", "has no hours"),
        ("08:00-18:00 5M; 17:00-19:00 6M", "08:00-18:00 5MiB/s and 17:00-19:00 6MiB/s overlap"),
        ("22:00-06:00 5M; 05:59-07:00 6M", "overlap"),
        ("5M; 6M", "more than one limit without hours"),
    ],
)
def test_hours_that_make_no_sense_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Bandwidth.parse(text)


@pytest.mark.parametrize(
    "item",
    [
        {"from": "08:00", "limit": "5M"},
        {"from": "08:00", "to": "09:00"},
        {"from": "1", "til": "2", "limit": "3"},
        {},
    ],
)
def test_sections_need_their_keys(item: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected from, to and limit"):
        Bandwidth.of([item])


def test_a_timetable_says_what_holds_when() -> None:
    by_text = Bandwidth.parse("08:00-18:00 50MiB/s; 22:00-06:00 unlimited; 20MiB/s")
    sections = [
        {"from": "22:00", "to": "06:00", "limit": "unlimited"},
        {"from": "8:00", "to": "18:00", "limit": "50MiB/s"},
        {"limit": "20MiB/s"},
    ]
    assert Bandwidth.of(sections) == by_text == Bandwidth.parse(str(by_text))
    day = datetime(2026, 6, 1, tzinfo=UTC)
    table = Bandwidth(by_text.otherwise, by_text.windows, zone="UTC")
    at = {hour: table.at(day + timedelta(hours=hour)) for hour in (0, 5.99, 6, 7.99, 8, 17.99, 18, 21.99, 22)}
    fifty, twenty = 50 * MIB, 20 * MIB
    assert [*at.values()] == [None, None, twenty, twenty, fifty, fifty, twenty, twenty, None]


def test_the_hours_are_those_of_the_time_zone() -> None:
    """Berlin is two hours ahead in summer and one in winter."""
    table = Bandwidth(None, Bandwidth.parse("08:00-18:00 5M").windows, zone="Europe/Berlin")
    assert table.at(datetime(2026, 7, 1, 6, 30, tzinfo=UTC)) == 5 * MIB
    assert table.at(datetime(2026, 12, 1, 6, 30, tzinfo=UTC)) is None
    assert table.at(datetime(2026, 12, 1, 7, 30, tzinfo=UTC)) == 5 * MIB


def test_an_unknown_time_zone_is_refused() -> None:
    assert time_zone("UTC").key == "UTC"
    with pytest.raises(ValueError, match="expected a time zone such as"):
        time_zone("Mars/Olympus")


def test_shares_add_up() -> None:
    assert (
        str(Bandwidth.parse("08:00-18:00 40MiB/s; unlimited").shared(4))
        == "08:00-18:00 10MiB/s; unlimited"[:19]
    )
