"""What a type checker makes of a program that uses mbk."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mbk.model import keywords
from tests.typing.keywords import KINDS, PATH, text

ROOT = Path(__file__).parents[2]
USAGE = "tests/typing/usage.py"


def test_mypy_takes_the_good_lines_and_refuses_the_bad_ones() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--show-error-codes", USAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {
        (int(line), code)
        for line, code in re.findall(rf"^{USAGE}:(\d+): error: .*\[([a-z-]+)\]$", run.stdout, re.MULTILINE)
    }
    lines = (ROOT / USAGE).read_text(encoding="utf-8").splitlines()
    marked = {
        (number, mark[1])
        for number, line in enumerate(lines, start=1)
        if (mark := re.search(r"# E: ([a-z-]+)$", line))
    }
    assert found == marked, run.stdout + run.stderr


def test_the_keywords_are_those_of_the_options() -> None:
    assert PATH.read_text(encoding="utf-8") == text(), "write them anew: python -m tests.typing.keywords"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_option_is_missing_among_the_keywords(kind: type) -> None:
    typed = getattr(keywords, kind.__name__.removesuffix("Options") + "Keywords")
    assert set(typed.__annotations__) == set(kind.__dataclass_fields__)  # type: ignore[attr-defined]  # they are dataclasses
