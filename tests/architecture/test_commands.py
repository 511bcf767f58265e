"""What a newcomer types, what CI runs and what the package says are the same."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points

from mbk.registry.registry import Registry
from tests.architecture.source import ROOT

COMMAND = re.compile(r"^python3 -m venv .*$", re.MULTILINE)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def commands(path: str) -> list[str]:
    return COMMAND.findall((ROOT / path).read_text(encoding="utf-8"))


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    run = [line for line in script if line and not line.startswith("#")]
    assert run[:2] == ["set -euo pipefail", 'cd "$(dirname "$0")/.."']
    assert len(run) == 3
    assert run[2] in commands("README.md")


def test_the_readme_has_a_line_for_the_demo_one_for_the_tests_and_one_to_use_it() -> None:
    demo, test, use = commands("README.md")
    assert demo.endswith("mbk demo")
    assert ".venv/bin/pytest" in test
    extras = {*use.split("[", 1)[1].split("]", 1)[0].split(",")}
    assert extras <= PROJECT["optional-dependencies"].keys()
    assert commands("README.zh-CN.md") == [demo, test, use]


def test_ci_can_be_run() -> None:
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_every_folder_of_tests_is_run() -> None:
    folders = {
        f"tests/{path.relative_to(ROOT / 'tests').parts[0]}" for path in ROOT.glob("tests/**/test_*.py")
    }
    run = {*PYPROJECT["tool"]["pytest"]["ini_options"]["testpaths"]}
    # Sweeps that take an hour have an environment of their own, and a sample among the ordinary tests.
    alone = {"tests/robustness"}
    assert run | alone == folders - {"tests/fixtures"}
    assert not run & alone
    environments = (ROOT / "tox.ini").read_text(encoding="utf-8")
    assert all(f"{{posargs:{folder}}}" in environments for folder in alone)


def test_the_installed_entry_points_are_those_of_the_sources() -> None:
    installed = {point.name: point.value for point in entry_points(group="mbk.storage")}
    assert installed.items() >= PROJECT["entry-points"]["mbk.storage"].items()


def test_every_spelling_in_the_package_selects_a_storage() -> None:
    registry = Registry(disabled=())
    spellings = {spelling: registry.backend(spelling) for spelling in PROJECT["entry-points"]["mbk.storage"]}
    assert [name for name, backend in spellings.items() if name not in (backend.name, *backend.aliases)] == []


def test_every_storage_has_an_extra_that_brings_its_sdk() -> None:
    for info in Registry(disabled=()).describe():
        if info.distribution == PROJECT["name"]:
            backend = Registry(disabled=()).backend(info.name)
            assert not backend.requires or backend.extra == f"{PROJECT['name']}[{info.name}]"
            assert not backend.requires or info.name in PROJECT["optional-dependencies"]
