"""The documentation as a site: it builds without a warning, speaks one language a page, and is searched without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mbk.about import __version__
from tests.docs.pages import PAGES, ROOT
from tests.docs.site import write_versions


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    # As it is called; and it changes what a process that builds nothing wants to keep, as the locale.
    command = [sys.executable, "-m", "tests.docs.site", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory / __version__


@pytest.fixture(scope="module")
def index(site: Path) -> dict[str, Any]:
    """The search index: documents, and for each stem the documents that have it."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    return found


def hits(index: dict[str, Any], *terms: str) -> set[str]:
    """The documents with all these stems, in the text or a title."""
    found = []
    for term in terms:
        places = [index[kind].get(term, []) for kind in ("terms", "titleterms")]
        numbers = {number for place in places for number in ([place] if isinstance(place, int) else place)}
        found.append({index["docnames"][number] for number in numbers})
    return set.intersection(*found)


def navigation(page: Path) -> str:
    return (
        page.read_text(encoding="utf-8").partition('<div class="sidebar-tree">')[2].partition("</aside>")[0]
    )


def test_every_page_is_in_the_site(site: Path) -> None:
    missing = [page for page in PAGES if not (site / page.path).with_suffix(".html").exists()]
    assert missing == []


def test_the_navigation_of_a_page_is_in_its_language(site: Path) -> None:
    english = navigation(site / "docs/tutorial/first-backup.html")
    chinese = navigation(site / "docs/tutorial/first-backup.zh-CN.html")
    assert re.search("[\u3400-\u9fff]", english) is None
    assert "How to" in english
    assert "操作指南" in chinese
    assert "How to" not in chinese


def test_a_page_leads_to_its_translation_and_names_its_language(site: Path) -> None:
    english = (site / "docs/tutorial/first-backup.html").read_text(encoding="utf-8")
    chinese = (site / "docs/tutorial/first-backup.zh-CN.html").read_text(encoding="utf-8")
    assert '<a href="first-backup.zh-CN.html" lang="zh-CN">中文</a>' in english
    assert '<a href="first-backup.html" lang="en">English</a>' in chinese
    assert 'lang="zh-CN" data-content_root' in chinese


def test_the_search_finds_words_of_both_languages(index: dict[str, Any]) -> None:
    assert "docs/how-to/verify-backups" in hits(index, "verifi")  # by its stem
    assert "docs/tutorial/first-backup.zh-CN" in hits(index, "备份")
    assert "docs/how-to/milvus-on-minio.zh-CN" in hits(index, "桶")
    assert "docs/how-to/copy-backups.zh-CN" in hits(index, "备份", "复制")


def test_the_search_has_the_stemmer_of_its_index(site: Path) -> None:
    code = (site / "_static/language_data.js").read_text(encoding="utf-8")
    assert "window.Stemmer = EnglishStemmer;" in code
    assert "function splitQuery" in code


def test_nothing_of_the_site_comes_from_the_network(site: Path) -> None:
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]* src="https?:|<link[^>]* rel="stylesheet"[^>]* href="https?:'
    )
    assert [page for page in site.rglob("*.html") if loaded.search(page.read_text(encoding="utf-8"))] == []


def test_a_site_offers_every_version_beside_it_and_opens_the_newest(tmp_path: Path) -> None:
    for name in ("0.9.0", "0.10.0", "0.10.0rc1"):
        (tmp_path / name / "docs").mkdir(parents=True)
        (tmp_path / name / "docs/index.html").touch()
    write_versions(tmp_path)
    assert '["0.10.0", "0.10.0rc1", "0.9.0"]' in (tmp_path / "versions.js").read_text()
    assert "url=0.10.0/docs/index.html" in (tmp_path / "index.html").read_text()


def test_the_title_says_the_version(site: Path) -> None:
    assert f"mbk {__version__}</title>" in (site / "docs/index.html").read_text(encoding="utf-8")
