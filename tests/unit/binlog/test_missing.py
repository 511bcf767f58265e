"""Without pyarrow, what reads binlogs says so in one line, and everything else works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HIDDEN = "import sys; sys.modules['pyarrow'] = None; "


def run(code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HIDDEN + code, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
    )


def test_l0compact_names_the_pip_command_and_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "backup.yaml"
    config.write_text(
        f"minio: {{storageType: local, rootPath: {tmp_path}/data, backupRootPath: {tmp_path}/backups}}\n"
    )
    done = run(
        "from mbk.cli.main import main; sys.exit(main(sys.argv[1:]))",
        "--config", str(config), "l0compact", "-n", "nightly",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "pyarrow" in done.stderr
    assert "pip install 'pyarrow>=" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["backup.yaml"]


def test_nothing_of_the_library_needs_it_before_rows_are_read(tmp_path: Path) -> None:
    modules = "mbk.engine.operations.create, mbk.engine.operations.restore, mbk.engine.formats.binlog.late, mbk.cli.operation, mbk.session"
    done = run(f"import {modules}; print('fine')", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
