"""``mbk demo`` before anything is started; the whole story is played in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbk.config.load import load
from mbk.errors import MilvusUnavailable
from tests.cli.conftest import Run


def test_a_directory_in_use_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious", encoding="utf-8")
    result = run("demo", "--dir", str(tmp_path))
    assert result.code == 2
    assert "is not empty" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_where_no_embedded_milvus_exists_it_says_how_to_use_a_server(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbk.demo.wheel.this_platform_reason", lambda: "no Milvus for this machine")
    result = run("demo", "--dir", "demo")
    assert result.code == MilvusUnavailable.exit_code
    assert "--milvus-address" in result.err


@pytest.mark.parametrize(
    "where", [["--use-config"], ["--config", "backup.yaml"], ["--milvus-address", "127.0.0.1"]]
)
def test_a_server_of_the_users_is_the_one_that_is_asked(where: list[str], run: Run) -> None:
    Path("backup.yaml").write_text("milvus: {address: 127.0.0.1, port: 1}\n", encoding="utf-8")
    result = run("demo", *where)
    assert result.code == 7
    assert "127.0.0.1:1" in result.err


def test_the_configuration_it_leaves_behind_is_a_valid_one(tmp_path: Path) -> None:
    from mbk.demo.embedded import EmbeddedMilvus
    from mbk.demo.run import _config

    server = EmbeddedMilvus(tmp_path / "milvus")
    server._ports |= {"proxy": 19530, "metrics": 9091}
    file = tmp_path / "backup.yaml"
    file.write_text(_config(server, tmp_path / "backup"), encoding="utf-8")
    loaded = load(file, environ={})
    assert loaded.warnings == ()
    assert loaded.settings.milvus.management_endpoint == server.management_url
    assert loaded.settings.storage.values["root_path"] == str(server.storage_root)
    assert loaded.settings.backup_storage.values["root_path"] == str(tmp_path / "backup")
