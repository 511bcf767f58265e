"""What the environment names for other work does not matter to who has keys of their own, and is named to who has not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mbk.errors import MbkError, StorageUnavailable, UsageError
from mbk.registry.registry import Registry

#: Nobody listens there.
CLOSED: Mapping[str, Any] = {"address": "127.0.0.1", "port": 1, "use_ssl": False}
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "c2VjcmV0"}
IN_HAND: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("minio", KEYS),
    ("s3", KEYS),
    ("aws", KEYS),
    ("gcp", {"access_key_id": "GOOGEXAMPLE", "secret_access_key": "c2VjcmV0"}),
    ("gcp", {"session_token": "ya29.token"}),
    ("azure", {"account_name": "acct", "account_key": "c2VjcmV0"}),
    ("azure", {"account_name": "acct", "sas_token": "sv=2024-01-01&sig=c2ln"}),
    ("ali", {**KEYS, "region": "cn-hangzhou"}),
    ("tc", {**KEYS, "region": "ap-nanjing"}),
)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of which nothing can be used."""
    path = tmp_path / "broken"
    path.write_text("[profile x\nnonsense = =\n]]")
    for name in (
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
        "TKE_WEB_IDENTITY_TOKEN_FILE",
    ):
        monkeypatch.setenv(name, str(path))
    monkeypatch.setenv("AWS_PROFILE", "of-other-work")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return path


def refusal(kind: str, **values: Any) -> MbkError:
    backend = Registry().backend(kind)
    storage = backend.open(backend.settings()(bucket="backups", **CLOSED | values))
    try:
        with pytest.raises(MbkError) as caught:
            storage.check()
    finally:
        storage.close()
    return caught.value


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(("kind", "keys"), IN_HAND)
def test_who_has_keys_is_told_of_the_service_alone(kind: str, keys: Mapping[str, Any]) -> None:
    assert isinstance(refusal(kind, **keys), StorageUnavailable)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("kind", ["minio", "s3", "aws"])
def test_so_is_who_goes_through_a_proxy_that_only_the_sdk_can_talk_to(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "https://127.0.0.1:1")
    assert isinstance(refusal(kind, **KEYS, address="storage.example"), StorageUnavailable)


def test_who_has_none_reads_which_variable_names_the_profile(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.write_text("[default]\n")
    assert "AWS_PROFILE" in told(refusal("aws", region="eu-west-1"))
    monkeypatch.delenv("AWS_PROFILE")
    broken.write_text("]]")
    assert "AWS_CONFIG_FILE" in told(refusal("aws"))


def told(error: MbkError) -> str:
    assert isinstance(error, UsageError)
    return error.hint or ""
