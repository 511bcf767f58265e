"""``mbk demo``: the whole story on a real Milvus, and what is refused before anything is started."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbk.config.load import load
from mbk.demo.embedded import embedded_supported
from mbk.errors import MilvusUnavailable
from tests.cli.conftest import Run
from tests.docs.pages import Page
from tests.docs.schemas import fits

UNSUPPORTED = embedded_supported()
needs_server = pytest.mark.skipif(UNSUPPORTED is not None, reason=UNSUPPORTED or "")


def running_in(directory: Path) -> list[Path]:
    """The processes that live below ``directory``."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if process.readlink().is_relative_to(directory):
                found.append(process)
        except OSError:  # somebody else's, or gone
            continue
    return found


def shapes(text: str) -> set[str]:
    """The lines without what differs from run to run: paths, numbers and the width of columns."""
    lines = (re.sub(r"<?\d[\d.:T+Z-]*", "N", re.sub(r"\S*/\S*", "PATH", line)) for line in text.splitlines())
    return {" ".join(line.split()) for line in lines} - {""}


@needs_server
def test_the_whole_story_on_an_embedded_milvus(tmp_path: Path, run: Run) -> None:
    home = tmp_path / "demo"
    played = subprocess.run(
        [sys.executable, "-m", "mbk", "demo", "--dir", str(home), "--rows", "1500", "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    told = json.loads(played.stdout)
    fits("demo", told)
    assert (told["rows"], told["restored"]) == (1500, "hello_milvus_recover")
    assert "1500 of 1500 rows" in played.stderr
    assert "warning" not in played.stderr
    assert running_in(home) == []
    listed = json.loads(run("--config", told["config"], "list", "-o", "json").out)
    assert [(item["name"], item["state"]) for item in listed] == [("demo", "complete")]
    assert (home / "backup/demo/meta/full_meta.json").is_file()
    looked = [
        run("--config", told["config"], *words) for words in (("list",), ("get", "-n", "demo", "-o", "table"))
    ]
    shown = [block.text for block in Page("docs/tutorial/first-backup.md").blocks if block.language == "log"]
    assert shapes(shown[0]) <= shapes(played.stderr)
    assert shapes(shown[1]) <= shapes("\n".join(result.out + result.err for result in looked))


@needs_server
def test_an_interrupted_demo_leaves_no_server(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    with subprocess.Popen(
        [sys.executable, "-m", "mbk", "demo", "--dir", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Milvus ")
        assert process.stderr is not None
        # Before anything is unpacked or started.
        assert process.stderr.readline().startswith("mbk: a Milvus of its own")
        assert running_in(home)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "mbk: interrupted"
    assert running_in(home) == []


def test_a_directory_in_use_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious", encoding="utf-8")
    result = run("demo", "--dir", str(tmp_path))
    assert result.code == 2
    assert str(tmp_path) in result.err
    assert "--dir" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_where_no_embedded_milvus_exists_it_says_how_to_use_a_server(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbk.demo.wheel.this_platform_reason", lambda: "no Milvus for this machine")
    result = run("demo", "--dir", "demo")
    assert result.code == MilvusUnavailable.exit_code
    assert "--milvus-address" in result.err
    assert len(result.err.splitlines()) == 1
    assert not Path("demo").exists()


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
