"""mbk without an extra: everything works but the storages whose SDK is missing, and those say what to install."""

from __future__ import annotations

import json

import pytest

from tests.packaging.bare import Bare

OPEN = """
from mbk.config.schema import StorageChoice
from mbk.errors import MbkError
from mbk.registry.registry import Registry
try:
    print(Registry().open(StorageChoice(type={type!r}, values={values!r})).location)
except MbkError as exc:
    print(type(exc).__name__, exc)
"""


@pytest.mark.parametrize(
    ("storage", "package", "version"),
    [
        ("minio", "boto3", ">=1.36"),
        ("s3", "boto3", ">=1.36"),
        ("aws", "boto3", ">=1.36"),
        ("ali", "oss2", ">=2.19"),
        ("tc", "cos-python-sdk-v5", ">=1.9"),
    ],
)
def test_a_missing_sdk_is_told_as_the_pip_install_that_brings_it(
    bare: Bare, storage: str, package: str, version: str
) -> None:
    told = bare.python(
        OPEN.format(type=storage, values={"bucket": "backups", "address": "localhost"})
    ).strip()
    assert told == (
        f"MissingDependency storage {storage!r} requires {package}: pip install '{package}{version}'"
    )


def test_the_local_storage_needs_no_extra(bare: Bare) -> None:
    told = bare.python(OPEN.format(type="local", values={"root_path": str(bare.path / "data")}))
    assert told.startswith("local://")


def test_plugins_are_listed_with_what_is_missing(bare: Bare) -> None:
    listed = bare.run("mbk", "plugins", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    plugins = {plugin["name"]: plugin for plugin in json.loads(listed.stdout)}
    assert plugins["local"]["ready"]
    assert not plugins["s3"]["ready"]
    assert plugins["s3"]["install"] == "pip install 'boto3>=1.36'"


@pytest.mark.parametrize(
    ("command", "packages"),
    [
        (
            "server",
            "'cronsim>=2.6' 'fastapi-offline>=1.7.3' 'fastapi>=0.115.12' 'prometheus-client>=0.21.1' 'uvicorn>=0.34.3'",
        ),
        ("create --metrics-file x", "'prometheus-client>=0.21.1'"),
    ],
)
def test_a_missing_extra_is_told_as_the_pip_install_that_brings_it(
    bare: Bare, command: str, packages: str
) -> None:
    told = bare.run("mbk", *command.split(), "--set", "minio.storageType=local,minio.rootPath=data")
    assert told.returncode == 2, told.stderr
    assert f"pip install {packages}" in told.stderr
    assert not told.stdout


def test_a_token_is_made_without_an_extra(bare: Bare) -> None:
    made = bare.run("mbk", "server", "--new-token", "ci")
    assert made.stdout.startswith("token ci sha256:"), made.stderr
