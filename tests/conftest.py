"""What holds for every test, wherever the run was started from."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

# A shell starts background jobs with Ctrl-C ignored, and `nohup` ignores the hang-up; what is ignored stays so in every
# child, so that mbk, rightly, does not stop and the tests of its stopping fail. The children of a process that handles
# a signal begin with its default, whatever the handler does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


# Many tests run `mbk` as a process of its own. Where Python may not keep what it compiled, each of them compiles the
# whole checkout anew, which takes longer than most commands.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _levels_of_logs() -> Iterator[None]:
    """Gives the levels back that a test's commands set, so that no test is deaf for what another one has run."""
    levels = {logger: logger.level for logger in (logging.getLogger(), logging.getLogger("mbk"))}
    yield
    for logger, level in levels.items():
        logger.setLevel(level)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the time went: seconds of all workers together, by folder, for a run of several folders."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds["/".join(report.nodeid.split("/")[:2])] += report.duration
    if len(seconds) > 1:
        terminalreporter.section("seconds by folder")
        for folder, spent in seconds.most_common():
            terminalreporter.line(f"{spent:7.0f} {folder}")
