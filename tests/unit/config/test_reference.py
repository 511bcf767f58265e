"""The documentation and the samples say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbk.config import samples
from mbk.config.document import renewed
from mbk.config.keys import KEYS
from mbk.config.load import load
from mbk.config.schema import Settings
from mbk.config.v1 import V1
from mbk.config.v2 import V2
from mbk.plugin import StorageSettings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "configuration.md"


def test_the_reference_page_is_in_step_with_the_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, f"renew it: python -m mbk.config.document {PAGE.relative_to(ROOT)}"


@pytest.mark.parametrize("kind", [*sorted(samples.types()), samples.FULL])
def test_a_sample_loads_without_a_warning_and_means_the_same_in_both_dialects(
    kind: str, tmp_path: Path
) -> None:
    loaded = {}
    for dialect in samples.DIALECTS:
        path = tmp_path / f"{dialect}.yaml"
        path.write_text(samples.sample(kind, dialect), encoding="utf-8")
        loaded[dialect] = load(path, environ={})
        assert (loaded[dialect].dialect, loaded[dialect].warnings, loaded[dialect].lacks) == (dialect, (), "")
    v1, v2 = (_meaning(item.settings) for item in loaded.values())
    assert v1 == v2


def _meaning(settings: Settings) -> dict[str, object]:
    """Without the keys of each dialect, and without an explicit `no` to the machine's role."""
    meant = settings.model_dump()
    for side in ("storage", "backup_storage"):
        values = meant[side]["values"]
        meant[side] = {"type": meant[side]["type"], **values, "use_iam": bool(values.get("use_iam"))}
    return meant


def test_the_storages_of_this_project_have_a_sample() -> None:
    assert samples.types() >= {"local", "minio", "s3", "aws", "gcp", "azure", "ali", "tc"}


@pytest.mark.parametrize("dialect", samples.DIALECTS)
def test_a_storage_without_a_sample_gets_one_of_its_settings(dialect: samples.Format, tmp_path: Path) -> None:
    path = tmp_path / "backup.yaml"
    path.write_text(
        samples.made("acme", {"address": "host of the vault", "use_ssl": ""}, dialect), encoding="utf-8"
    )
    assert "host of the vault" in path.read_text(encoding="utf-8")
    loaded = load(path, environ={})
    assert (loaded.settings.storage.type, loaded.dialect, loaded.warnings) == ("acme", dialect, ())


@pytest.mark.parametrize("dialect", samples.DIALECTS)
def test_the_full_samples_hold_the_defaults(dialect: samples.Format, tmp_path: Path) -> None:
    """Apart from the log file, which the classic samples name and which is off by default."""
    path = tmp_path / "backup.yaml"
    path.write_text(samples.sample(samples.FULL, dialect), encoding="utf-8")
    settings = load(path, environ={}).settings
    exclude = {"storage", "backup_storage"}
    plain = Settings(storage=settings.storage, backup_storage=settings.backup_storage)
    with_log = plain.model_copy(update={"log": plain.log.model_copy(update={"file": "logs/backup.log"})})
    assert settings.model_dump(exclude=exclude) == with_log.model_dump(exclude=exclude)


def test_every_setting_can_be_configured_in_both_dialects() -> None:
    fields = {
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        if section not in ("storage", "backup_storage", "profiles", "schedules", "notifications")
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
