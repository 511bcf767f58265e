"""What a shell offers, asked of a real bash where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run

BASH = shutil.which("bash")


@pytest.fixture
def offered(backups: Path, tmp_path: Path, run: Run) -> Callable[[str], list[str]]:
    """What bash offers for a line, with the cursor at its end."""
    program = tmp_path / "bin" / "mbk"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mbk "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").out, encoding="utf-8")

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        asked = f"""
        source {script}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
        _mbk_completion mbk
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        environ = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [BASH or "bash", "-c", asked], capture_output=True, text=True, env=environ, check=True
        )
        assert done.stderr == ""
        return done.stdout.split()

    return ask


def test_a_shell_offers_commands_options_types_backups_and_collections(
    offered: Callable[[str], list[str]], backups: Path
) -> None:
    assert offered("mbk rest") == ["restore"]
    assert offered("mbk config in") == ["init"]
    assert offered("mbk restore --skip-cr") == ["--skip-create-collection"]
    assert offered("mbk --storage loc") == ["local"]
    assert offered("mbk get o") == ["old"]
    assert offered("mbk restore -n ol") == ["old"]
    assert offered("mbk restore -n old --filter default.") == ["default.docs"]
    assert offered("mbk restore old --filter default.x,default.") == ["default.x,default.docs"]
    assert offered("mbk --config /nowhere.yaml get o") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_mbk(shell: str, run: Run) -> None:
    assert "_MBK_COMPLETE" in run("completion", shell).out


def test_a_shell_that_is_not_known_is_refused(run: Run) -> None:
    assert run("completion", "tcsh").code == 2
