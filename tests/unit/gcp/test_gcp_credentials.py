"""Tokens of google-auth, used as long as they hold."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from google.auth.credentials import TokenState
from google.auth.exceptions import TransportError

from mbk_gcp.credentials import RenewedToken
from mbk_gcp.errors import NoToken


class Credentials:
    """Those of google-auth, as far as they are used; their service answers the first ``answers`` requests."""

    def __init__(self, answers: int) -> None:
        self.token_state = TokenState.INVALID
        self.asked = 0
        self._answers = answers

    def before_request(self, request: Any, method: str, url: str, headers: MutableMapping[str, str]) -> None:
        del request, method, url
        self.asked += 1
        if self.asked > self._answers:
            raise TransportError("gone")
        self.token_state = TokenState.FRESH
        headers["Authorization"] = f"Bearer {self.asked}"


def test_a_token_that_goes_stale_is_used_where_no_other_can_be_had() -> None:
    credentials = Credentials(answers=1)
    token = RenewedToken(credentials, "")
    first = token.headers()
    credentials.token_state = TokenState.STALE
    assert [token.headers() for _ in range(50)] == [first] * 50
    assert credentials.asked == 2


def test_a_token_that_has_expired_is_never_used() -> None:
    credentials = Credentials(answers=1)
    token = RenewedToken(credentials, "")
    token.headers()
    credentials.token_state = TokenState.INVALID
    with pytest.raises(NoToken):
        token.headers()
