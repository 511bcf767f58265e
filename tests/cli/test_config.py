"""``mbk config`` and the old ``mbk check config``."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mbk.errors import StorageUnavailable
from tests.cli.conftest import Run, Session

FILE = """
milvus:
  address: milvus.example
  user: root
  password: very-secret
http:
  simpleResponse: true
"""


@pytest.fixture(autouse=True)
def _file() -> None:
    Path("backup.yaml").write_text(FILE, encoding="utf-8")


@pytest.mark.parametrize("command", [("config", "show"), ("check", "config")])
def test_every_value_is_shown_with_its_source_and_no_secret(command: tuple[str, ...], run: Run) -> None:
    result = run(*command, "--set", "milvus.port=1")
    assert result.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.out.splitlines()}
    assert rows["milvus.address"] == ["milvus.example", "file", "milvus.address"]
    assert rows["milvus.port"] == ["1", "set", "milvus.port"]
    assert rows["log.level"][1] == "default"
    assert "very-secret" not in result.out + result.err
    assert "backup.yaml" in result.err


def test_it_can_be_read_by_a_machine(run: Run) -> None:
    told = json.loads(run("config", "show", "-o", "json").out)
    assert told["file"].endswith("backup.yaml")
    assert {"parameter", "value", "source", "source_key"} == set(told["settings"][0])
    assert "very-secret" not in json.dumps(told)


def test_a_migrated_file_is_loaded_again(run: Run) -> None:
    result = run("config", "migrate")
    assert result.code == 0
    Path("v2.yaml").write_text(result.out, encoding="utf-8")
    shown = run("config", "show", "--config", "v2.yaml").out
    assert "milvus.example" in shown
    assert "milvus.grpc.address" in shown


def test_a_migrated_file_is_for_its_owner_alone_and_is_not_overwritten(run: Run) -> None:
    assert run("config", "migrate", "-o", "v2.yaml").out == ""
    assert stat.S_IMODE(Path("v2.yaml").stat().st_mode) == 0o600
    again = run("config", "migrate", "--output", "v2.yaml")
    assert again.code == 5
    assert "--force" in again.err
    Path("v2.yaml").write_text("old", encoding="utf-8")
    assert run("config", "migrate", "--output=v2.yaml", "--force").code == 0
    assert Path("v2.yaml").read_text(encoding="utf-8").startswith("configVersion: v2")


def test_a_place_that_cannot_be_written_is_named(run: Run) -> None:
    result = run("config", "migrate", "-o", "nowhere/v2.yaml")
    assert result.code == 2
    assert "nowhere/v2.yaml" in result.err


def test_a_file_that_is_v2_already_is_refused(run: Run) -> None:
    Path("backup.yaml").write_text("configVersion: v2\n", encoding="utf-8")
    assert run("config", "migrate").code == 2


def test_strict_refuses_what_would_be_lost(run: Run) -> None:
    Path("backup.yaml").write_text("http:\n  enabled: true\n", encoding="utf-8")
    assert run("config", "migrate").code == 0
    result = run("config", "migrate", "--strict")
    assert (result.code, result.out) == (2, "")
    assert "http.enabled" in result.err


@pytest.mark.parametrize("name", ["classic.yaml", "classic-bilingual.yaml"])
def test_strict_passes_for_the_files_that_people_have(name: str, run: Run) -> None:
    file = Path(__file__).parents[1] / "unit/config/fixtures" / name
    told = run("--config", str(file), "config", "migrate", "--strict")
    assert (told.code, told.err) == (0, "")


def test_a_file_that_is_not_there_is_named(run: Run) -> None:
    result = run("config", "show", "--config", "other.yaml")
    assert result.code == 2
    assert "other.yaml" in result.err


@pytest.mark.parametrize("dialect", ["v1", "v2"])
def test_a_written_configuration_leads_to_a_check(dialect: str, run: Run, session: Session) -> None:
    Path("backup.yaml").unlink()
    written = run("config", "init", "--storage", "local", "--format", dialect)
    assert (written.code, written.out) == (0, "")
    assert stat.S_IMODE(Path("backup.yaml").stat().st_mode) == 0o600
    assert written.err.splitlines()[-1].strip() == "mbk check"
    checked = run("check")
    assert (checked.code, checked.err) == (0, "")
    assert f"configuration: backup.yaml ({dialect})" in checked.out
    assert session.settings.storage.type == "local"


def test_a_configuration_is_not_overwritten_unasked(run: Run) -> None:
    refused = run("config", "init")
    assert refused.code == 5
    assert "--force" in refused.err
    assert Path("backup.yaml").read_text(encoding="utf-8") == FILE
    assert run("config", "init", "--force").code == 0
    assert "provider: minio" in Path("backup.yaml").read_text(encoding="utf-8")


def test_a_configuration_that_is_not_found_by_itself_is_named_in_the_next_command(run: Run) -> None:
    assert run("config", "init", "my file.yaml").err.rstrip().endswith("mbk --config 'my file.yaml' check")
    assert run("config", "init", "-", "--storage", "aliyun").out.count("provider: ali") == 1
    assert run("config", "init", "-", "--full").out.startswith("configVersion: v2")
    assert "did you mean 'azure'" in run("config", "init", "-", "--storage", "azur").err


@pytest.mark.parametrize("words", [(), ("config",), ("plan",), ("-v",)])
def test_a_group_without_a_command_shows_its_help(words: tuple[str, ...], run: Run) -> None:
    result = run(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: mbk")
    assert "Commands:" in result.err


@pytest.mark.parametrize("command", ["list", "create", "delete x --yes", "restore x", "verify x"])
@pytest.mark.parametrize(("text", "told"), [(None, "no configuration file found"), ("", "sets nothing")])
def test_every_refusal_without_a_configuration_says_so(
    command: str, text: str | None, told: str, run: Run, session: Session
) -> None:
    Path("backup.yaml").unlink()
    if text is not None:
        Path("backup.yaml").write_text(text, encoding="utf-8")
    session.error = StorageUnavailable("cannot list bucket 'a-bucket' at localhost:9000")
    result = run(*command.split())
    assert result.code == 7
    first, second = result.err.splitlines()[-2:]
    assert first.startswith("mbk: error: cannot list bucket")
    assert told in second
    assert "mbk config init" in second


def test_a_list_without_backups_nor_configuration_says_so(run: Run, session: Session) -> None:
    Path("backup.yaml").unlink()
    told = run("list")
    assert (told.code, told.out) == (0, "")
    assert "no configuration file found" in told.err.splitlines()[-1]


def test_a_check_without_a_configuration_says_where_it_looked(run: Run, session: Session) -> None:
    Path("backup.yaml").unlink()
    (told,) = json.loads(run("check", "-o", "json").out)
    assert (told["what"], told["ok"], told["warning"]) == ("configuration", True, True)
    assert str(Path("configs/backup.yaml").absolute()) in told["detail"]
    assert "mbk config init" in told["hint"]
