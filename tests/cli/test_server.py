"""``mbk server`` from the shell: where it listens, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbk.api.service import jobs_file
from tests.cli.conftest import Run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings that a server would have been made of."""
    seen: list[Any] = []

    class Serving:
        url = "http://127.0.0.1:1"

        def __init__(self, settings: Any, *, config: Path | None) -> None:
            seen.append(settings.server)

        def run(self, *, on_ready: Callable[[], None]) -> None:
            on_ready()

    monkeypatch.setattr("mbk.api.server.Serving", Serving)
    monkeypatch.delenv("SERVER_PORT", raising=False)
    return seen


def test_it_listens_on_this_machine_and_says_where(run: Run, served: list[Any]) -> None:
    result = run("server")
    assert (result.code, result.out) == (0, "")
    assert "http://127.0.0.1:1/api/v1/docs/" in result.err
    assert (served[0].host, served[0].port) == ("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("words", "variable", "port"),
    [
        (["-p", "9001"], "", 9001),
        (["--port=9001"], "9002", 9001),
        ([], "9002", 9002),
        (["--set", "server.port=9003"], "9002", 9003),
        ([], "tcp://10.0.0.1:80", 8080),
    ],
    ids=str,
)
def test_the_port_is_given_in_every_way(
    run: Run, served: list[Any], monkeypatch: pytest.MonkeyPatch, words: list[str], variable: str, port: int
) -> None:
    monkeypatch.setenv("SERVER_PORT", variable)
    assert run("server", *words).code == 0
    assert served[0].port == port


def test_a_wrong_port_is_a_usage_error(run: Run, served: list[Any]) -> None:
    assert run("server", "-p", "70000").code == 2
    assert run("server", "-p", "http").code == 2
    assert not served


def test_a_password_is_asked_for_on_a_terminal_only(run: Run, served: list[Any]) -> None:
    result = run("server", "--new-user", "anna")
    assert result.code == 2
    assert not served


@pytest.mark.parametrize("name", ["a b", "x" * 65, "a:b"])
def test_the_name_of_a_token_is_a_name(run: Run, served: list[Any], name: str) -> None:
    result = run("server", f"--new-token={name}")
    assert result.code == 2
    assert not result.out


def test_each_configuration_has_a_jobs_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a second server of the same user is not refused."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = [jobs_file("", Path(path)) for path in ("a/backup.yaml", "b/backup.yaml", "a/../a/backup.yaml")]
    assert files[0] == files[2] != files[1]
    assert {file.parent for file in files} == {tmp_path / "mbk"}
    assert jobs_file("mine.db", Path("a/backup.yaml")) == Path("mine.db")
    assert jobs_file("", None) == tmp_path / "mbk" / "jobs.db"


def test_a_container_chooses_the_address_by_a_variable(
    run: Run, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_HOST", "0.0.0.0")
    assert run("server").code == 0
    assert run("server", "--host", "127.0.0.2").code == 0
    assert [item.host for item in served] == ["0.0.0.0", "127.0.0.2"]
