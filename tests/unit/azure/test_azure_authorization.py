"""What lets a request in, as far as no server says it: tokens that end, and accounts of another tenant."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from mbk_azure.authorization import Bearer, Request, SharedKey

REQUEST = Request("GET", "/data/key", (), {})


class Identity:
    """A credential of azure-identity; ``seconds`` until its tokens end."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.asked: list[dict[str, Any]] = []

    def get_token(self, *scopes: str, **more: Any) -> SimpleNamespace:
        assert scopes == ("https://storage.azure.com/.default",)
        self.asked.append(more)
        return SimpleNamespace(token=f"token-{len(self.asked)}", expires_on=int(time.time()) + self.seconds)


def test_a_token_is_held_until_it_is_about_to_end() -> None:
    for seconds, asked in ((3600, 1), (299, 3)):
        identity = Identity(seconds)
        bearer = Bearer(identity)
        told = [bearer.headers(REQUEST)["Authorization"] for _ in range(3)]
        assert len(identity.asked) == len(set(told)) == asked


def test_a_refused_token_is_replaced_by_one_of_the_tenant_that_the_account_names() -> None:
    identity = Identity(3600)
    bearer = Bearer(identity)
    first = bearer.headers(REQUEST)
    for challenge in (
        'Bearer authorization_uri="https://login.microsoftonline.com/0a1b-22/oauth2/authorize", resource_id="x"',
        "Bearer authorization_uri=https://login.microsoftonline.com/0a1b-22/oauth2/authorize resource_id=x",
        "",
    ):
        assert bearer.renew(challenge)
        assert bearer.headers(REQUEST) != first
        assert identity.asked[-1] == {"tenant_id": "0a1b-22"}


def test_a_key_is_not_asked_for_again() -> None:
    assert not SharedKey("account", "a2V5").renew("")
