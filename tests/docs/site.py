"""Builds the documentation as a site that needs no network: ``python -m tests.docs.site DIRECTORY``.

Each version gets a directory of its own. Those that are there already stay, and every page offers all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mbk.about import __version__
from tests.docs.pages import ROOT

_START = '<!doctype html><meta charset="utf-8"><title>mbk</title><meta http-equiv="refresh" content="0; url={}/docs/index.html">\n'


def build(directory: Path) -> Path:
    """The site of this version, below ``directory``. Warnings are errors: they end it with `SystemExit`."""
    from sphinx.cmd.build import main

    site = directory / __version__
    arguments = ["-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), "-d", str(directory / ".doctrees")]
    if status := main([*arguments, str(ROOT), str(site)]):
        raise SystemExit(status)
    write_versions(directory)
    return site


def write_versions(directory: Path) -> None:
    """The names of the versions, newest first, for the pages; and a first page, which leads to the newest."""
    from packaging.version import Version

    names = [page.parents[1].name for page in directory.glob("*/docs/index.html")]
    names.sort(key=Version, reverse=True)
    (directory / "versions.js").write_text(f"window.mbkVersions = {json.dumps(names)};\n", encoding="utf-8")
    (directory / "index.html").write_text(_START.format(names[0]), encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
