"""`mbk plugin new` and `check`, as an author uses them: in a folder of their own, against the installed mbk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packaging.bare import Bare, build, environment


@pytest.fixture(scope="module")
def author(bare: Bare, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """Has mbk and pytest."""
    here = environment(tmp_path_factory.mktemp("author") / "env")
    here.install("pytest")
    seen = next(bare.path.glob("lib/python*/site-packages"))
    site = next(here.path.glob("lib/python*/site-packages"))
    (site / "mbk-environment.pth").write_text(f"{seen}\n")
    return here


@pytest.fixture(scope="module")
def package(author: Bare) -> Path:
    made = author.run("python", "-m", "mbk", "plugin", "new", "deep-store")
    assert made.returncode == 0, made.stderr
    assert "mbk plugin check mbk-deep-store" in made.stderr
    return author.path / "mbk-deep-store"


def check(author: Bare, package: Path | str, *options: str) -> tuple[int, str, str]:
    done = author.run("python", "-m", "mbk", *options, "plugin", "check", str(package))
    return done.returncode, done.stdout, done.stderr


def test_a_new_plugin_passes_the_kit_as_it_is(author: Bare, package: Path) -> None:
    code, told, errors = check(author, package)
    assert code == 0, told + errors
    assert "broken" not in told
    assert int(told.splitlines()[-1].split()[0]) > 60


def test_a_rule_that_breaks_is_named_with_what_was_seen(author: Bare, package: Path) -> None:
    wire = package / "src/mbk_deep_store/wire.py"
    whole = wire.read_text(encoding="utf-8")
    found = "if terms.if_absent and key in objects:"
    assert found in whole
    wire.write_text(whole.replace(found, "if False:"), encoding="utf-8")
    try:
        code, _, _ = check(author, package)
        results = json.loads(check(author, package, "-o", "json")[1])
    finally:
        wire.write_text(whole, encoding="utf-8")
    assert code == 1
    broken = [result for result in results if not result["ok"]]
    assert broken
    assert all(result["what"] and result["detail"] and result["hint"] for result in broken)


def test_it_is_built_installed_and_found_by_its_type(author: Bare, package: Path, tmp_path: Path) -> None:
    author.install("--no-deps", build(package, tmp_path))
    listed = author.run("python", "-m", "mbk", "plugins", "-o", "json")
    storages = {each["name"]: each for each in json.loads(listed.stdout)}
    assert storages["deep-store"]["distribution"] == "mbk-deep-store"
    assert storages["deep-store"]["ready"]
    settings = ("--backup-storage", "deep-store", "--set", "minio.backupBucketName=b")
    code, told, errors = check(author, "mbk-deep-store", *settings)
    assert code == 0, told + errors


def test_mistakes_are_told_with_what_to_do(author: Bare, package: Path, tmp_path: Path) -> None:
    again = author.run("python", "-m", "mbk", "plugin", "new", "deep-store")
    assert again.returncode != 0
    assert "--dir" in again.stderr
    badly = author.run("python", "-m", "mbk", "plugin", "new", "9 lives")
    assert badly.returncode == 2
    assert "begin with a letter" in badly.stderr
    code, _, errors = check(author, "local", "--backup-storage", "minio")
    assert code == 2
    assert "--backup-storage local" in errors
    (tmp_path / "pyproject.toml").touch()
    code, _, errors = check(author, tmp_path)
    assert code == 2
    assert "mbk plugin new" in errors
