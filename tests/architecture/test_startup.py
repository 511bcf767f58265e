"""What starting mbk loads, seen from a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Everything that is needed by some command and not by the first line of help.
HEAVY = frozenset(
    {
        "pymilvus",
        "grpc",
        "pandas",
        "numpy",
        "pydantic",
        "yaml",
        "msgspec",
        "fastapi",
        "starlette",
        "uvicorn",
        "boto3",
        "botocore",
        "google.cloud",
        "azure",
        "oss2",
        "qcloud_cos",
        "milvus",
        "mbk_local",
        "mbk_s3",
    }
)

LOADED = "import sys; print(*sorted(sys.modules), file=sys.stderr)"
HELP = f"""
import sys
from mbk.cli.main import main
sys.argv = ["mbk", "--help"]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
{LOADED}
"""


@pytest.mark.parametrize(
    "code",
    [
        f"import mbk; mbk.errors; mbk.__version__; {LOADED}",
        f"import mbk.plugin; {LOADED}",
        f"import mbk.model.operations; {LOADED}",
        HELP,
    ],
    ids=["import mbk", "import mbk.plugin", "the table of operations", "mbk --help"],
)
def test_starting_loads_nothing_heavy(code: str) -> None:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stderr.split())
    assert "mbk" in loaded
    assert not loaded & HEAVY


def test_listing_the_installed_storages_imports_none_of_them() -> None:
    code = f"from mbk.registry.registry import Registry; print(*Registry().names()); {LOADED}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"local", "minio", "s3", "aws"} <= set(run.stdout.split())
    assert not set(run.stderr.split()) & HEAVY


def test_listing_backups_loads_nothing_of_milvus(tmp_path: Path) -> None:
    config = tmp_path / "backup.yaml"
    config.write_text(f"minio:\n  storageType: local\n  backupRootPath: {tmp_path}/backups\n")
    (tmp_path / "backups").mkdir()
    code = f"import mbk; print(*mbk.connect({str(config)!r}).list()); {LOADED}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.split())
    assert "mbk_local" in loaded
    assert not loaded & {"pymilvus", "grpc", "mbk.milvus", "mbk.ports.milvus", "mbk.api", "boto3", "numpy"}
