"""Which storage an address names, and with whose address and credentials."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.config.schema import Settings, StorageChoice
from mbk.errors import UnknownStorage, UsageError
from mbk.model.addresses import Address
from mbk.registry.places import choice_for
from mbk.registry.registry import Registry
from tests.raising import raised

MINIO = StorageChoice(
    type="minio", values={"bucket": "milvus", "root_path": "files", "access_key_id": "of-milvus"}
)
BACKUPS = StorageChoice(
    type="s3", values={"bucket": "backups", "root_path": "backup", "access_key_id": "of-backups"}
)
BLOBS = StorageChoice(type="azure", values={"account_name": "acc", "bucket": "c", "account_key": "k"})


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(disabled=())


def chosen(
    registry: Registry, text: str, *, inside: bool = False, **sides: Any
) -> tuple[str, dict[str, Any]]:
    settings = Settings(
        storage=sides.get("storage", MINIO),
        backup_storage=sides.get("backup_storage", BACKUPS),
        profiles={"blobs": BLOBS, "disk": StorageChoice(type="local", values={"root_path": "/srv"})},
    )
    choice = choice_for(Address.parse(text), settings, registry, inside=inside)
    return choice.type, dict(choice.values)


def key(found: tuple[str, dict[str, Any]]) -> tuple[str, Any, Any, Any]:
    kind, values = found
    return kind, values.get("access_key_id"), values.get("bucket"), values.get("root_path")


def test_a_name_lies_in_the_configured_place_and_with_a_profile_in_its_place(registry: Registry) -> None:
    assert chosen(registry, "nightly") == ("s3", dict(BACKUPS.values))
    assert chosen(registry, "disk@nightly") == ("local", {"root_path": "/srv"})
    with raised(UsageError, "profile-unknown", profile="dsk") as caught:
        chosen(registry, "dsk@nightly")
    assert "disk" in (caught.value.hint or "")


def test_a_bucket_of_a_configured_service_is_opened_with_its_credentials(registry: Registry) -> None:
    assert key(chosen(registry, "s3://other/a/b")) == ("s3", "of-backups", "other", "a")
    assert key(chosen(registry, "s3://milvus/a/b")) == ("minio", "of-milvus", "milvus", "a")
    assert key(chosen(registry, "minio://other/b")) == ("minio", "of-milvus", "other", "")


def test_where_nothing_is_configured_the_environment_decides(registry: Registry) -> None:
    disk = StorageChoice(type="local", values={"root_path": "/srv"})
    only_disk = {"storage": disk, "backup_storage": disk}
    assert chosen(registry, "s3://b/x/y", **only_disk) == ("aws", {"bucket": "b", "root_path": "x"})
    assert chosen(registry, "aws://b/x/y") == ("aws", {"bucket": "b", "root_path": "x"})
    for scheme, kind in (("gs", "gcp"), ("oss", "ali"), ("cos", "tc")):
        assert chosen(registry, f"{scheme}://b/x/y") == (kind, {"bucket": "b", "root_path": "x"})
    expected = {"account_name": "acc", "bucket": "c", "root_path": "x"}
    assert chosen(registry, "az://acc/c/x/y") == ("azure", expected)


def test_an_account_belongs_to_the_service(registry: Registry) -> None:
    _, values = chosen(registry, "az://acc/other/x/y", backup_storage=BLOBS)
    assert values["account_key"] == "k"
    _, values = chosen(registry, "az://somebody/c/x/y", backup_storage=BLOBS)
    assert "account_key" not in values
    with raised(UsageError, "address-of-another-account"):
        chosen(registry, "blobs@az://somebody/c/x/y")
    with raised(UsageError, "profile-of-another-type"):
        chosen(registry, "blobs@s3://b/x/y")


def test_a_directory_is_named_by_its_path(registry: Registry) -> None:
    assert chosen(registry, "file:///srv/x/nightly") == ("local", {"root_path": "/srv/x"})
    assert chosen(registry, "./x/", inside=True) == ("local", {"root_path": "./x/"})
    assert chosen(registry, "/nightly") == ("local", {"root_path": "/"})
    with raised(UsageError, "address-not-absolute"):
        chosen(registry, "file://srv/x")


@pytest.mark.parametrize("text", ["s3://", "az://acc", "az:///c/x", "gs:///x"])
def test_a_url_without_its_bucket_is_refused(registry: Registry, text: str) -> None:
    with raised(UsageError, "address-without-bucket"):
        chosen(registry, text)


def test_an_unknown_scheme_is_refused_with_the_known_ones(registry: Registry) -> None:
    with raised(UnknownStorage, "scheme-unknown", scheme="https") as caught:
        chosen(registry, "https://b/x")
    assert "az, cos, file, gs, oss, s3" in (caught.value.hint or "")
