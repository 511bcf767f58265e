"""Keys of a role, which are renewed in time and used as long as they hold."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mbk.errors import AuthenticationFailed
from mbk.plugin.roles import MARGIN, Role


class ChainBroke(Exception):
    """Of a vendor's library."""


def role(*answers: float | Exception) -> tuple[Role[int], list[int]]:
    """Of keys that hold for so many seconds; the list has an entry for each time that they were asked for."""
    left: Iterator[float | Exception] = iter(answers)
    asked: list[int] = []

    def fetch() -> tuple[int, float]:
        asked.append(len(asked))
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return len(asked), time.time() + answer

    return Role(fetch, name="role"), asked


@pytest.mark.parametrize("error", [OSError(), ChainBroke()])
def test_keys_that_still_hold_are_used_where_others_cannot_be_had(error: Exception) -> None:
    held, asked = role(0.9 * MARGIN, error)
    assert held.keys() == 1
    assert [held.keys() for _ in range(50)] == [1] * 50
    assert len(asked) == 2


def test_keys_that_have_expired_are_never_used() -> None:
    held, _ = role(-1.0, 3600.0, OSError())
    assert [held.keys(), held.keys(), held.keys()] == [1, 2, 2]


@pytest.mark.parametrize(("error", "raised"), [(OSError(), AuthenticationFailed), (ChainBroke(), ChainBroke)])
def test_without_keys_the_error_is_told(error: Exception, raised: type[Exception]) -> None:
    held, _ = role(error)
    with pytest.raises(raised):
        held.keys()
