"""What the documentation says of installing mbk works today: mbk is on no index."""

from __future__ import annotations

import re
import tomllib

from tests.docs.pages import PAGES, ROOT, Page

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: A requirement of mbk by its name, which pip would look up.
FROM_AN_INDEX = re.compile(
    rf"pip install [^\n#]*(?<![\w./-]){PROJECT['name']}(\[|\s|$)|`{PROJECT['name']}\[\w+\]`"
)


def test_no_page_installs_mbk_from_an_index() -> None:
    found = {page.path: hit[0] for page in PAGES if (hit := FROM_AN_INDEX.search(page.text))}
    del found["CHANGELOG.md"]  # it says how things were called
    assert found == {}


def test_the_pages_on_installing_have_every_extra() -> None:
    for path in ("docs/how-to/install.md", "docs/how-to/install.zh-CN.md"):
        rows = [line.split("|")[1] for line in Page(path).text.splitlines() if line.startswith("| `")]
        assert {*re.findall(r"`(\w+)`", " ".join(rows))} == PROJECT["optional-dependencies"].keys()
