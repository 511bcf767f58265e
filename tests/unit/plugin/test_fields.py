"""The toolbox for settings classes: fields that most storages have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, SecretStr, ValidationError

from mbk.plugin import StorageSettings
from mbk.plugin.fields import (
    ExistingFile,
    Host,
    NeededBucket,
    Port,
    RelativeRoot,
    SecretOfKey,
    joined,
)


class Acme(StorageSettings):
    address: Host = ""
    port: Port = None
    ca_cert: ExistingFile = ""
    root_path: RelativeRoot = ""
    access_key_id: str = ""
    secret_access_key: SecretOfKey = Field(SecretStr(""), validate_default=True)
    bucket: NeededBucket = Field("", validate_default=True)


def made(**given: Any) -> Acme:
    return Acme(**{"bucket": "b", **given})


@pytest.mark.parametrize(
    ("written", "host"),
    [("", ""), ("Acme.Example", "acme.example"), ("[::1]", "::1"), ("fe80::1", "fe80::1")],
)
def test_a_host_is_written_in_one_way(written: str, host: str) -> None:
    assert made(address=written).address == host


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"address": "https://acme"}, "host name alone; https is chosen by useSSL"),
        ({"address": "acme:9000"}, "host name alone; the port has a key"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"port": 65536}, "less than or equal to 65535"),
        ({"ca_cert": "no/such.pem"}, "there is no file 'no/such.pem'"),
        ({"root_path": "\\files"}, "leave the leading backslash out"),
        ({"bucket": ""}, "a bucket is needed"),
        ({"access_key_id": "a"}, "go together: set both or none"),
        ({"secret_access_key": "hunter2"}, "go together: set both or none"),
    ],
)
def test_what_cannot_be_is_refused_by_its_own_field(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(**wrong)
    [problem] = caught.value.errors()
    assert why in problem["msg"]
    assert problem["loc"][0] in {*wrong, "secret_access_key"}
    assert "hunter2" not in str(caught.value)


def test_what_can_be_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    given = {
        "port": 443,
        "ca_cert": str(file),
        "root_path": "a",
        "access_key_id": "a",
        "secret_access_key": "s",
    }
    kept = made(**given)
    assert {name: getattr(kept, name) for name in given} == {**given, "secret_access_key": SecretStr("s")}


@pytest.mark.parametrize(("path", "root"), [("", ""), ("a", "a/"), ("/a//b//", "a/b/"), ("/", "")])
def test_the_root_is_empty_or_ends_with_one_slash(path: str, root: str) -> None:
    assert StorageSettings(bucket="b", root_path=path).root == root


def test_host_and_port_are_joined_as_in_a_url() -> None:
    assert (joined("acme", 443), joined("::1", 80)) == ("acme:443", "[::1]:80")
