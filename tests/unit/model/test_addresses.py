"""Addresses as people write them."""

from __future__ import annotations

import pytest

from mbk.errors import InvalidName, UsageError
from mbk.model.addresses import Address
from mbk.model.options import CopyOptions
from tests.raising import raised


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Address()),
        ("nightly", Address(path="nightly")),
        ("nightly/meta/", Address(path="nightly/meta/")),
        ("Archive@", Address(profile="archive")),
        ("dr-site_2@nightly", Address(profile="dr-site_2", path="nightly")),
        ("acme://b/x/nightly", Address(scheme="acme", path="b/x/nightly")),
        ("ACME://b/x/", Address(scheme="acme", path="b/x/")),
        ("site@acme://b/what@is/this", Address(profile="site", scheme="acme", path="b/what@is/this")),
        ("file:///srv/x", Address(scheme="file", path="/srv/x")),
        ("/srv/x", Address(scheme="file", path="/srv/x")),
        ("./a@b/x", Address(scheme="file", path="./a@b/x")),
        ("..", Address(scheme="file", path="..")),
    ],
)
def test_an_address_is_a_name_a_url_or_a_path_and_may_name_a_profile(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "acme://user:hunter2@b/x",
        "acme://hunter2@b/x",
        "acme://AKIA:hunter2/with/slash@b/x",
        "acme://user:12/hunter2@b/x",
        "site@acme://user:hunter2@b/x",
        "user:hunter2@host/b/x",
        "acme://AKIA:hunter2",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(text: str) -> None:
    with raised(UsageError, "address-with-credentials") as caught:
        Address.parse(text)
    assert "hunter2" not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize("host", ["localhost:9000", "10.0.0.1:443", "[::1]:9000"])
def test_a_host_is_for_a_profile_to_say(host: str) -> None:
    with raised(UsageError, "address-with-host", host=host):
        Address.parse(f"acme://{host}/bucket/x")


@pytest.mark.parametrize(
    ("source", "to", "names"),
    [
        ("nightly", "weekly", ("nightly", "weekly")),
        ("nightly", "acme://b/x/", ("nightly", "nightly")),
        ("nightly", "acme://b/x/weekly", ("nightly", "weekly")),
        ("acme://b/x/nightly/", "site@", ("nightly", "nightly")),
        ("./x/nightly", "./y/..", ("nightly", "nightly")),
    ],
)
def test_a_slash_at_the_end_says_what_the_copy_lies_in(source: str, to: str, names: tuple[str, str]) -> None:
    assert CopyOptions(to=to).names(source) == names


def test_what_is_no_address_of_a_backup_is_refused() -> None:
    with raised(UsageError, "address-not-a-name"):
        CopyOptions(to="some/where")
    with pytest.raises(InvalidName):
        CopyOptions(to="acme://b/x/not-a-name")
    with raised(UsageError, "copy-destination-missing"):
        CopyOptions()
    with raised(UsageError, "options-conflict"):
        CopyOptions(to="acme://b/x/", path="y")
    for source in ("", "site@", "acme://b/x/.."):
        with raised(UsageError, "address-without-name"):
            CopyOptions(to="weekly").names(source)
