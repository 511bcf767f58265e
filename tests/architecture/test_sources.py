"""Habits that hold in every file."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from pathlib import Path

from tests.architecture.source import ROOT

# An unused argument and a late import need none: the signature is somebody else's, the ban says its reason itself.
WAIVER = re.compile(r"# (type: ignore|noqa(?!: (?:ARG\d+|TID253)$))")
EXPLAINED = re.compile(r"# (type: ignore\[[\w, -]+\]\s+# ?|noqa: [A-Z0-9, ]*[0-9]\s+)\S.{7,}")
# Taken apart, so that this file does not name them itself.
MACHINE_PATH = re.compile(r"(?<![\w./}>-])/(?:" + "|".join(["work", "root", "tmp/venv"]) + r")(?:/|\b)(?!\w)")
REGISTRY = re.compile(
    r"https?://(?:[^\s/'\"]*\.)?(?:pypi|npmjs|npmmirror|goproxy|artifactory|nexus)\.\w|--(?:extra-)?index"
    + r"-url"
)


PATCHED_CONSTANT = re.compile(r"setattr\(\s*(?:\"mbk[\w.]*\.|[^\"()]+, \")_?[A-Z][A-Z0-9_]+\"")
# Its pages become an argument with the next port of storages.
PATCHES_A_CONSTANT = {"tests/conformance/test_azure_faults.py"}


def files() -> list[Path]:
    """What is committed, or would be by adding everything."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [path for name in sorted({*names} - {""}) if (path := ROOT / name).is_file()]


def lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def test_a_waived_check_says_why() -> None:
    unexplained = []
    for path in (path for path in files() if path.suffix == ".py"):
        text = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if (
                token.type == tokenize.COMMENT
                and WAIVER.search(token.string)
                and not EXPLAINED.search(token.string)
            ):
                unexplained.append(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}")
    assert unexplained == []


def test_no_test_patches_a_constant() -> None:
    """What a test changes is an argument, which others can give as well."""
    patched = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in files()
        if path.suffix == ".py" and path.relative_to(ROOT).as_posix() not in PATCHES_A_CONSTANT
        for found in PATCHED_CONSTANT.findall(path.read_text(encoding="utf-8"))
    ]
    assert patched == []


def test_nothing_committed_names_one_machine() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate(lines_of(path), start=1)
        if MACHINE_PATH.search(line) or REGISTRY.search(line)
    ]
    assert named == []
