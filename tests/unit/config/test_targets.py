"""``notifications``: whom a server may tell of its schedules, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbk.config.load import load
from mbk.config.migrate import migrate
from mbk.config.show import show
from mbk.errors import ConfigError

HOOK = "https://chat.example/hook?token=topsecret"
FILE = f"""\
minio: {{storageType: local, rootPath: /a, backupRootPath: /b}}
notifications:
  Chat: {HOOK}
  pager: page --token topsecret
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backup.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_targets_come_from_the_file_the_environment_and_the_command_line(file: Path) -> None:
    environ = {"MBK_NOTIFICATION_PAGER": "from-environment", "MBK_NOTIFICATION_MAIL": "mail"}
    loaded = load(file, environ=environ, cwd=file.parent, sets=["notifications.log=logger"])
    assert loaded.settings.notifications == {
        "chat": HOOK,
        "pager": "from-environment",
        "mail": "mail",
        "log": "logger",
    }
    assert loaded.warnings == ()


def test_what_may_be_a_token_is_masked(file: Path) -> None:
    shown = {row.parameter: row.value for row in show(load(file, environ={}, cwd=file.parent))}
    assert shown["notifications.chat"] == "https://chat.example/hook?***"
    assert shown["notifications.pager"] == "page ***"


def test_targets_survive_a_migration(file: Path) -> None:
    new = file.with_name("v2.yaml")
    new.write_text(migrate(file, environ={}, cwd=file.parent).text, encoding="utf-8")
    before, after = (load(path, environ={}, cwd=file.parent).settings for path in (file, new))
    assert before.notifications == after.notifications != {}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("notifications: {1st: x}", "notifications.1st"),
        ("notifications: {a-b: x}", "notifications.a-b"),
        (f"notifications: {{{'n' * 42}: x}}", "notifications.nnn"),
        ("notifications: chat", "notifications"),
        ("notifications: {chat: {url: x}}", "notifications.chat"),
    ],
)
def test_what_is_no_target_is_a_problem(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "backup.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        load(path, environ={}, cwd=tmp_path)
    assert [item for item in found.value.problems if str(item.key).startswith(key)]
