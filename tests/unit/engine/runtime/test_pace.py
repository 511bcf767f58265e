"""How often is asked whether something is done."""

from __future__ import annotations

from itertools import accumulate, islice, takewhile

import pytest

from mbk.engine.runtime.pace import growing


@pytest.mark.parametrize("took", [0.01, 1.0, 30.0, 3600.0])
def test_an_end_is_noticed_soon_and_not_asked_for_all_the_time(took: float) -> None:
    polls = [*takewhile(lambda at: at < took, islice(accumulate(growing(0.2, 3.0)), 10_000))]
    noticed = next(at for at in accumulate(growing(0.2, 3.0)) if at >= took)
    assert noticed - took <= 0.2 + 0.05 * took
    assert len(polls) <= 60 + took / 3


def test_no_pause_is_longer_than_the_last() -> None:
    assert max(islice(growing(0.2, 0.001), 10)) == 0.001
