"""The tutorial on storage plugins, played from an empty folder: every block is written or run, every output compared.

Nothing is downloaded: pip finds what a reader would fetch in the environment that runs this test.
"""

from __future__ import annotations

import ast
import json
import os
import re
import site
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory

import pytest

from mbk.ports.storage import GIB
from tests.docs.pages import ROOT, Block, Page
from tests.servers.process import free_port, listening, running

PAGE = Page("docs/tutorial/write-a-storage-plugin.md")
#: The line above a block that is a file: its name alone, or what is added to it or changed in it.
_FILE = re.compile(r"^(?P<how>Add to |Change )?`(?P<name>[\w./-]+)`:$")
_PORT = "4566"


@dataclass
class Reader:
    """Somebody who follows the page: a folder, where they are in it, and what the last command printed."""

    home: Path
    where: Path
    temporary: str
    others: ExitStack
    port: int = field(default_factory=free_port)
    printed: str = ""

    def follow(self, block: Block, above: str) -> None:
        text = block.text.replace(_PORT, str(self.port))
        named = _FILE.match(above)
        if named and block.language == "diff":
            self._change(self.where / named["name"], text)
        elif named:
            self._write(self.where / named["name"], text, add=bool(named["how"]))
        elif block.language == "log":
            self._compare(block, text)
        elif "-m ministack" in text:
            self._start(text)
        else:
            assert block.language == "sh", f"{block}: neither a file nor a command nor an output"
            self._run(block, text)

    def run(self, command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euc", command],
            cwd=self.where,
            env=self._environment() | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def _write(self, path: Path, text: str, *, add: bool) -> None:
        assert path.parent.is_dir(), path
        with path.open("a" if add else "w", encoding="utf-8") as file:
            file.write(text)

    def _change(self, path: Path, diff: str) -> None:
        """The lines with a minus, which stand in the file once, become those with a plus."""
        old, new = (
            "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] == sign) for sign in "-+"
        )
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new), encoding="utf-8")

    def _run(self, block: Block, text: str) -> None:
        moved = self.home / "where"
        done = self.run(f"trap 'pwd > {moved}' EXIT\n{text}")
        assert done.returncode == 0, f"{block}: {done.stdout}"
        self.printed = done.stdout
        self.where = Path(moved.read_text(encoding="utf-8").strip())
        self._furnish()

    def _compare(self, block: Block, text: str) -> None:
        """Every line shown was printed, in this order; ``…`` stands for anything, one space for several."""
        printed = iter(_lines(self.printed))
        for line in _lines(text):
            pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
            assert any(pattern.fullmatch(each) for each in printed), f"{block}: {line!r}, not {self.printed}"

    def _start(self, text: str) -> None:
        command = ["bash", "-euc", f"exec env {text}"]
        server = running(command, ready=listening(self.port), env=self._environment())
        self.others.enter_context(server)

    def _environment(self) -> dict[str, str]:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYTHON", "PYTEST_", "MBK_", "PIP_"))
        }
        tools = [self.home / "mbk-obs/.venv/bin", Path(sys.executable).parent]
        return inherited | {
            "PATH": os.pathsep.join([*map(str, tools), inherited["PATH"]]),
            "COLUMNS": "200",
            "TMPDIR": self.temporary,
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def _furnish(self) -> None:
        """Lets the reader's environment see what is installed in this one."""
        for packages in (self.home / "mbk-obs/.venv").glob("lib/python*/site-packages"):
            lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
            (packages / "outer.pth").write_text("".join(lines), encoding="utf-8")


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Has followed the page to its end."""
    home = tmp_path_factory.mktemp("tutorial")
    (home / "mbk").symlink_to(ROOT)
    with ExitStack() as others:
        temporary = others.enter_context(TemporaryDirectory(dir=_memory()))
        reader = Reader(home, home, temporary, others)
        for block in PAGE.blocks:
            reader.follow(block, above(block))
        yield reader


def _memory() -> Path | None:
    """A file system in memory, where there is room: SQLite waits for the disk at each of thousands of writes."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and disk_usage(memory).free > GIB else None


def above(block: Block) -> str:
    """The last line of text before a block."""
    before = PAGE.text.splitlines()[: block.line - 2]
    return next(line for line in reversed(before) if line)


def test_every_block_does_what_the_page_says(reader: Reader) -> None:
    assert reader.where == reader.home / "mbk-obs"


def test_both_plugins_are_listed_beside_those_of_mbk(reader: Reader) -> None:
    listed = json.loads(reader.run("mbk plugins -o json").stdout)
    theirs = {each["name"]: each["distribution"] for each in listed if each["distribution"] != "mbk"}
    assert theirs.items() >= {"obs": "mbk-obs", "obs-pace": "mbk-obs", "shelf": "mbk-shelf"}.items()
    assert all(each["ready"] for each in listed if each["name"] in theirs)


def test_a_missing_sdk_is_told_as_the_page_says(reader: Reader) -> None:
    absent = reader.home / "absent"
    absent.mkdir()
    (absent / "sitecustomize.py").write_text(
        "import sys\nsys.modules.update(dict.fromkeys(['boto3', 'botocore']))\n", encoding="utf-8"
    )
    told = reader.run("mbk --config emulator.yaml list || true", PYTHONPATH=str(absent)).stdout.strip()
    assert f"`{told.removeprefix('mbk: error: ')}`" in PAGE.text


def test_the_page_imports_nothing_of_mbk_but_what_is_public() -> None:
    modules = ("failures", "keys", "objects", "wire", "wrapper")
    public = ("mbk.plugin", "mbk.ports.storage", "mbk.errors", "mbk.testing", "mbk_s3")
    public += tuple(f"mbk.plugin.{module}" for module in modules)
    own = ("mbk_obs", "mbk_shelf")
    for block in PAGE.blocks:
        if block.language == "python":
            nodes = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.ImportFrom)]
            named = {node.module or "" for node in nodes if (node.module or "").startswith("mbk")}
            assert {name for name in named if name.partition(".")[0] not in own} <= {*public}, block
