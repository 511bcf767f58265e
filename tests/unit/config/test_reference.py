"""The documentation and the samples say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbk.config.document import renewed
from mbk.config.keys import KEYS
from mbk.config.load import load
from mbk.config.schema import Settings
from mbk.config.v1 import V1
from mbk.config.v2 import V2
from mbk.plugin import StorageSettings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "configuration.md"
SAMPLES = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_reference_page_is_in_step_with_the_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, f"renew it: python -m mbk.config.document {PAGE.relative_to(ROOT)}"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_loads_without_a_warning(path: Path) -> None:
    loaded = load(path, environ={})
    assert loaded.warnings == ()
    assert loaded.dialect == ("v2" if "v2" in path.name else "v1")


def test_there_is_a_sample_for_each_storage_type_that_ships() -> None:
    types = {load(path, environ={}).settings.storage.type for path in SAMPLES}
    assert {"local", "minio", "s3", "aws"} <= types
    for path in SAMPLES:
        kind = path.stem.removeprefix("backup").lstrip("-")
        assert kind in ("", "v2", load(path, environ={}).settings.storage.type)


@pytest.mark.parametrize("name", ["backup.yaml", "backup-v2.yaml"])
def test_the_full_samples_hold_the_defaults(name: str) -> None:
    """Apart from the log file, which the classic samples name and which is off by default."""
    settings = load(ROOT / "configs" / name, environ={}).settings
    exclude = {"storage", "backup_storage"}
    plain = Settings(storage=settings.storage, backup_storage=settings.backup_storage)
    with_log = plain.model_copy(update={"log": plain.log.model_copy(update={"file": "logs/backup.log"})})
    assert settings.model_dump(exclude=exclude) == with_log.model_dump(exclude=exclude)


def test_every_setting_can_be_configured_in_both_dialects() -> None:
    fields = {
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        if section not in ("storage", "backup_storage", "profiles")
        for name in type(field.default).model_fields
    }
    assert fields == {key.target for key in KEYS.values() if key.stored and key.side is None}
    for dialect in (V1, V2):
        assert fields <= set(dialect.by_target)


def test_the_vocabulary_of_storage_values_is_the_documented_one() -> None:
    documented = StorageSettings.__doc__ or ""
    values = {key.target.split(".")[1] for key in KEYS.values() if key.side and key.stored} - {"type"}
    for value in values - set(StorageSettings.model_fields):
        assert f"``{value}``" in documented
    assert values <= {target.split(".")[1] for target in V2.by_target if "storage." in target}


@pytest.mark.parametrize("dialect", [V1, V2], ids=["v1", "v2"])
def test_no_name_stands_for_two_settings(dialect: object) -> None:
    assert isinstance(dialect, type(V1))
    written = [key.lower() for name in dialect.names for key in name.keys]
    variables = [name.env for name in dialect.names if name.env]
    assert len(set(written)) == len(written)
    assert len(set(variables)) == len(variables)
    for target in KEYS:
        name = dialect.by_key.get(target)
        assert name is None or name.target == target
