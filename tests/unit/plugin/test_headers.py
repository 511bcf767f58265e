"""Times of headers, both ways."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mbk.plugin.headers import http_date, moment

SECOND = 1_796_053_338
TEXT = "Mon, 30 Nov 2026 15:42:18 GMT"


def test_a_date_as_it_is_sent() -> None:
    assert http_date(SECOND) == TEXT


@pytest.mark.parametrize("text", [TEXT, "Mon, 30 Nov 2026 16:42:18 +0100", "30 Nov 2026 15:42:18 +0000"])
def test_a_date_as_it_is_read(text: str) -> None:
    assert moment(text) == datetime.fromtimestamp(SECOND, UTC)


def test_no_date() -> None:
    assert moment(None) is None
    assert moment("") is None
