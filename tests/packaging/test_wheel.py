"""What is in the wheel, and that it runs where nothing else is."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.packaging.bare import Bare


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"mbk", "mbk_local", "mbk_s3"} <= tops
    assert {top for top in tops if not top.startswith("mbk")} == set()
    assert "mbk/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]


def test_help_and_version_run_in_a_bare_environment(bare: Bare) -> None:
    shown = bare.run("mbk", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "create" in shown.stdout
    assert "restore" in shown.stdout
    version = bare.python("import mbk; print(mbk.__version__)").strip()
    assert version in bare.run("mbk", "version").stdout
