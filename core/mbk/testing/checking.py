"""Runs the conformance kit for somebody who wants to know, not to read the output of a test runner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mbk.errors import UsageError
from mbk.model.reports import CheckResult
from mbk.ports.storage import Storage
from mbk.testing.conformance import rules
from mbk.testing.kit import rule_of

_OPENED = """
from mbk.testing import StorageConformance
from mbk.testing.checking import Opened

class TestOpened(Opened, StorageConformance):
    pass
"""


class Opened:
    """The fixture `storage` of a storage that a configuration names."""

    open: Callable[[], Storage]

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        storage = Opened.open()
        storage.check(create=True)
        yield storage
        storage.close()


def check_folder(folder: Path) -> tuple[CheckResult, ...]:
    """Runs the tests of a plugin in its folder, installed or not. Raises `UsageError` if none of them is the kit."""
    for sources in (folder, folder / "src"):
        sys.path.insert(0, str(sources))
    results = _run(folder)
    if not results:
        raise UsageError(
            "{path} has no test that is the conformance kit",
            code="plugin-without-kit",
            path=folder,
            hint="add a class TestX(StorageConformance) to its tests, or make a new plugin with `mbk plugin new`",
        )
    return results


def check_storage(opening: Callable[[], Storage]) -> tuple[CheckResult, ...]:
    """Runs the kit on a storage, opened anew for each rule. It writes below a prefix of its own, and empties it."""
    Opened.open = staticmethod(opening)
    with TemporaryDirectory() as folder:
        Path(folder, "test_opened.py").write_text(_OPENED, encoding="utf-8")
        return _run(Path(folder))


def _run(folder: Path) -> tuple[CheckResult, ...]:
    heard = _Heard()
    told = StringIO()
    options = ["-p", "no:terminal", "-p", "no:cacheprovider", "-o", "addopts="]
    with redirect_stdout(told):
        code = pytest.main([f"--rootdir={folder}", *options, str(folder)], plugins=[heard])
    if (
        code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
        or heard.broken
    ):
        raise UsageError(
            "the tests in {path} cannot be run: {reason}",
            code="plugin-tests-broken",
            path=folder,
            reason=heard.broken or f"pytest ends with {int(code)}",
            hint="python -m pytest there shows more",
        )
    return tuple(heard.results)


class _Heard:
    """A plugin of pytest that turns what happens to each rule into a result."""

    def __init__(self) -> None:
        self.results: list[CheckResult] = []
        self.broken = ""
        self._sentences = rules()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken = _reason(report.longreprtext)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        rule = rule_of(getattr(item, "originalname", item.name))
        ends = report.when == "call" or (report.when == "setup" and not report.passed)
        if rule in self._sentences and ends:
            self.results.append(self._result(rule, report))
        return report

    def _result(self, rule: str, report: pytest.TestReport) -> CheckResult:
        sentence = self._sentences[rule]
        if excuse := getattr(report, "wasxfail", ""):
            kept = report.passed
            detail = f"is kept, so the excuse has to go: {excuse}" if kept else f"excused: {excuse}"
            return CheckResult(rule, not kept, detail, warning=not kept)
        if report.skipped:
            return CheckResult(rule, ok=True, detail=f"not tried: {_skipped(report)}", warning=True)
        if report.passed:
            return CheckResult(rule, ok=True, detail=sentence)
        return CheckResult(rule, ok=False, detail=sentence, hint=_reason(report.longreprtext))


def _skipped(report: pytest.TestReport) -> str:
    told = report.longrepr
    return str(told[2] if isinstance(told, tuple) else told).removeprefix("Skipped: ")


def _reason(text: str) -> str:
    """The line of pytest's report that says what is wrong: the first that begins with E and says anything, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [
        line.removeprefix("E ").strip().removeprefix("Failed: ") for line in lines if line.startswith("E ")
    ]
    return next(
        (line for line in errors if line != "AssertionError"), lines[-1] if lines else "no reason was told"
    )


def summary(results: tuple[CheckResult, ...]) -> str:
    """``66 rules kept, 6 not tried``."""
    broken = sum(not result.ok for result in results)
    aside = sum(result.ok and result.warning for result in results)
    counts = {"kept": len(results) - broken - aside, "not tried or excused": aside, "broken": broken}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)
