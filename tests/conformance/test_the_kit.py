"""A kit that cannot fail is decoration: each broken storage is caught by the rules intended, and by no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mbk.testing import MemoryStorage, StorageConformance, rules
from mbk.testing.conformance import FAMILIES
from mbk.testing.kit import rule_of
from tests.conformance.broken.all_of_them import BROKEN, RIGHT

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/storage-rules.md"
#: An author's whole file, with a rule excused that is kept and one that is broken.
EXCUSING = """
import pytest
from mbk.testing import StorageConformance
from tests.conformance.broken.listing import StopsAfterOnePage

class TestAcme(StorageConformance):
    excused = {"L7": "the server has no second page", "L1": "an excuse that is no longer needed"}

    @pytest.fixture
    def storage(self):
        return StopsAfterOnePage()
"""


def failed_rules(target: str | Path, report: Path) -> dict[str, set[str]]:
    """The rules that failed, by the class of storage."""
    command = [sys.executable, "-m", "pytest", str(target), f"--junitxml={report}", "--rootdir", str(ROOT)]
    options = [
        "-q",
        "--tb=no",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    failed: dict[str, set[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        rules_of_class = failed.setdefault(case.attrib["classname"].rsplit(".Test", 1)[1], set())
        if case.find("failure") is not None or case.find("error") is not None:
            rules_of_class.add(rule_of(case.attrib["name"]) or case.attrib["name"])
    return failed


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    report = tmp_path_factory.mktemp("kit") / "report.xml"
    return failed_rules("tests/conformance/broken/all_of_them.py", report)


@pytest.mark.parametrize(
    ("broken", "expected"), [pytest.param(*item, id=item[0].__name__) for item in BROKEN.items()]
)
def test_a_broken_storage_is_caught(
    failed: dict[str, set[str]], broken: type[MemoryStorage], expected: frozenset[str]
) -> None:
    assert failed[broken.__name__] == expected


def test_the_right_storages_pass(failed: dict[str, set[str]]) -> None:
    assert [storage for storage in RIGHT if failed[storage.__name__]] == []


def test_every_rule_catches_something() -> None:
    assert set().union(*BROKEN.values()) == rules().keys()


def test_an_excuse_that_is_not_needed_fails(tmp_path: Path) -> None:
    author = tmp_path / "test_acme.py"
    author.write_text(EXCUSING)
    assert failed_rules(author, tmp_path / "report.xml") == {"Acme": {"L1"}}


def test_an_excuse_without_rule_or_reason_is_refused() -> None:
    for excused in ({"L99": "there is no such rule"}, {"L1": " "}):
        with pytest.raises(TypeError):
            type("TestAcme", (StorageConformance,), {"excused": excused})


def test_a_rule_cannot_be_overridden() -> None:
    with pytest.raises(TypeError) as caught:
        type("TestAcme", (StorageConformance,), {"test_l3_a_missing_prefix_is_empty": lambda _self: None})
    assert "L3" in str(caught.value)


def test_a_rule_is_numbered_alike_in_its_name_and_its_sentence() -> None:
    names = [rule for family in FAMILIES for name in vars(family) if (rule := rule_of(name))]
    assert list(rules()) == names
    assert len(names) == len({*names})
    assert all(rules().values())


def test_the_storage_in_memory_needs_no_pytest() -> None:
    code = "import sys, mbk.testing; mbk.testing.MemoryStorage(); sys.exit('pytest' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_the_reference_lists_every_rule() -> None:
    listed = dict(re.findall(r"^- \*\*([A-Z]\d+)\*\* (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == rules()
