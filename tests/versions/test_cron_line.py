"""The line for cron that makes, verifies and prunes in one: run by a shell as cron runs it, on a double."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from tests.docs.pages import Page
from tests.servers.process import free_port
from tests.versions.places import Place, place

PAGE = Page("docs/how-to/run-in-cron-and-ci.md")
#: Says which command is run, lets the test break something before it, and runs it.
MBK = """#!/bin/sh
echo "$1" >> "$FOLDER/commands"
[ ! -x "$FOLDER/before-$1" ] || "$FOLDER/before-$1"
exec "{python}" -m mbk "$@"
"""


def line() -> str:
    """As the shell gets it: without the times, and with the percent signs that cron unescapes."""
    (found,) = (
        text
        for block in PAGE.blocks
        for text in block.text.splitlines()
        if all(f"mbk {command}" in text for command in ("create", "verify", "prune"))
    )
    return re.sub(r"^(\S+ ){5}", "", found).replace(r"\%", "%")


@dataclass(frozen=True)
class Night:
    """A folder as the page has it: ``configs/backup.yaml`` in it, and ``mbk`` on the path."""

    folder: Path
    place: Place

    def before(self, command: str, script: str) -> None:
        """Runs a script before a command of the line."""
        file = self.folder / f"before-{command}"
        file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        file.chmod(0o755)

    def run(self) -> int:
        known = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "FOLDER": str(self.folder)}
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        script = line().replace("cd /srv/milvus", f"cd {self.folder}")
        return subprocess.run(["/bin/sh", "-c", script], env=kept | known, check=False).returncode

    @property
    def commands(self) -> list[str]:
        return (self.folder / "commands").read_text(encoding="utf-8").split()

    @property
    def said(self) -> str:
        return (self.folder / "backup.out").read_text(encoding="utf-8")

    @property
    def backups(self) -> list[str]:
        with self.place.session() as session:
            return [*session.names()]


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    folder = tmp_path / "srv"
    (folder / "bin").mkdir(parents=True)
    mbk = folder / "bin" / "mbk"
    mbk.write_text(MBK.format(python=sys.executable), encoding="utf-8")
    mbk.chmod(0o755)
    with place(tmp_path, "v2.5.8") as found:
        (folder / "configs").mkdir()
        found.config.rename(folder / "configs" / "backup.yaml")
        here = Night(folder, Place(found.double, folder / "configs" / "backup.yaml"))
        client = MilvusClient(uri=found.double.uri)
        client.create_collection("docs", 4, consistency_level="Strong")
        client.insert("docs", [{"id": number, "vector": [0.5] * 4} for number in range(10)])
        client.close()
        with here.place.session() as session:
            session.create("nightly_old", labels={"schedule": "nightly"})
        yield here


def test_the_line_makes_verifies_and_prunes(night: Night) -> None:
    # Of the backups of one day the rules of the line keep the newest.
    assert night.run() == 0, night.said
    assert night.commands == ["create", "verify", "prune"]
    (kept,) = night.backups
    assert re.fullmatch(r"nightly_\d{4}_\d\d_\d\d", kept)


def no_milvus(night: Night) -> None:
    config = night.place.config
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace(f"port: {night.place.double.port}", f"port: {free_port()}"), encoding="utf-8"
    )


def no_whole_backup(night: Night) -> None:
    pool = night.folder.parent / "backups" / ".mbk" / "pool"
    night.before("verify", f"find {pool} -path '*/insert_log/*' -type f -exec truncate -s 1 {{}} +")


def no_storage(night: Night) -> None:
    backups = night.folder.parent / "backups"
    night.before("prune", f"mv {backups} {backups}.gone")


@pytest.mark.parametrize(
    ("breaks", "code", "commands"),
    [
        (no_milvus, 7, ["create"]),
        (no_whole_backup, 8, ["create", "verify"]),
        (no_storage, 4, ["create", "verify", "prune"]),
    ],
    ids=["create", "verify", "prune"],
)
def test_a_step_that_fails_ends_the_line_with_its_exit_code(
    night: Night, breaks: Callable[[Night], None], code: int, commands: list[str]
) -> None:
    breaks(night)
    assert night.run() == code, night.said
    assert night.commands == commands
    assert "mbk: error: " in night.said, "what went wrong is in the file that the line names"
    if "prune" not in commands:
        assert "nightly_old" in night.backups, "nothing is deleted after a step that failed"


def test_a_second_run_of_a_day_says_that_its_name_is_taken_and_deletes_nothing(night: Night) -> None:
    assert night.run() == 0, night.said
    before = night.backups
    assert night.run() == 5
    assert night.commands[3:] == ["create"]
    assert night.backups == before
