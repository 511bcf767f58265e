"""The documentation as a site. The README and its neighbours are pages of it, so the root of the repository is its source.

Pages in English and in Chinese stand side by side. The navigation of a page holds the pages of its language, made of the lists
in the index of that language: what the index of the repository shows is what the site shows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

from mbk.about import __version__

ROOT = Path(__file__).parents[1]

project = "mbk"
version = release = __version__
copyright = "the authors of mbk"
language = "en"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".*", "core", "plugins", "tests", "benchmarks", "build", "dist"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
suppress_warnings = ["myst.directive_unknown"]

highlight_language = "text"
smartquotes = False  # what is quoted is often typed

html_theme = "furo"
html_title = f"mbk {__version__}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_site/static"]
templates_path = ["_site/templates"]
html_css_files = ["site.css"]
html_js_files = ["from_disk.js"]
html_search_language = "en-zh"
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "languages.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "versions.html",
        "sidebar/scroll-end.html",
    ]
}

CHINESE = ".zh-CN"
_INDEXES = {"docs/index.md": "", "docs/index.zh-CN.md": CHINESE}
_STOP = re.compile("[\u3001\u3002\uff01-\uff1f]")
_CHINESE = re.compile("[\u3001-\u9fff\uff01-\uff1f]")
_SECTION = re.compile(r"^## (?P<title>[^\n]+)$(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<path>[^)]+)\.md\)", re.MULTILINE)


class SearchEnglishAndChinese(SearchEnglish):
    """English by the stems of its words; Chinese, which has no spaces, by each character and each pair of neighbours.

    The browser knows the words of a query: `恢复备份` finds pages with both, side by side or not.
    """

    lang = "en-zh"
    js_splitter_code = r"""
function splitQuery(query) {
  const runs = query.match(/[\u3400-\u9fff]+|[^\p{P}\p{S}\p{Z}\u3400-\u9fff]+/gu) || [];
  return runs.flatMap((run) => (/[\u3400-\u9fff]/.test(run) ? chineseTerms(run) : [run]));
}

function chineseTerms(run) {
  const words = [...new Intl.Segmenter("zh", { granularity: "word" }).segment(run)].map((found) => found.segment);
  return words.flatMap((word) =>
    word.length < 3 ? [word] : [...word].slice(1).map((_, at) => word.slice(at, at + 2))
  );
}
"""
    _words = re.compile(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+")

    def split(self, input: str) -> list[str]:
        return [part for word in self._words.findall(input) for part in self._parts(word)]

    @staticmethod
    def _parts(word: str) -> list[str]:
        if word[0] < "\u3400" or word[0] > "\u9fff":
            return [word]
        return [*word, *(word[at : at + 2] for at in range(len(word) - 1))]


def setup(app: Sphinx) -> None:
    app.add_lexer("log", TextLexer)
    app.add_search_language(SearchEnglishAndChinese)
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", join_lines)
    app.connect("html-page-context", speak_one_language, priority=900)  # after the theme's own


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """The lists of both indexes become the trees of the site."""
    if docname == root_doc:
        source[0] += "".join(_trees())


def join_lines(app: Sphinx, doctree: nodes.document) -> None:
    """Between two lines of Chinese a browser would show a space that nobody wrote."""
    if app.env.docname.endswith(CHINESE):
        for ending in [text for text in doctree.findall(nodes.Text) if text == "\n"]:
            line = ending.parent
            at = line.index(ending)
            before = line[at - 1].astext()[-1:]
            after = line[at + 1].astext()[:1] if at + 1 < len(line) else ""
            if _STOP.match(before) or (_CHINESE.match(before) and _CHINESE.match(after)):
                line.remove(ending)


def sections(index: str) -> dict[str, list[tuple[str, str]]]:
    """Title and document of each entry, by section of an index."""
    text = (ROOT / index).read_text(encoding="utf-8").replace("`", "")
    return {found["title"]: _ENTRY.findall(found["text"]) for found in _SECTION.finditer(text)}


def _trees() -> list[str]:
    trees = ["\n```{toctree}\n:hidden:\n\nindex.zh-CN\n```\n"]
    for index in _INDEXES:
        for title, entries in sections(index).items():
            lines = "\n".join(f"{shown} <{path}>" for shown, path in entries)
            trees.append(f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n")
    return trees


def speak_one_language(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Navigation and `lang` of a page's own language, and the way to the other one."""
    chinese = pagename.endswith(CHINESE)
    counterpart = pagename.removesuffix(CHINESE) if chinese else pagename + CHINESE
    context["language"] = "zh-CN" if chinese else "en"
    context["english"] = counterpart if chinese else pagename
    context["chinese"] = pagename if chinese else counterpart if counterpart in app.env.all_docs else None
    context["prev"] = context["next"] = None  # the next page of a list is nothing that a reader looks for
    index = "docs/index.zh-CN.md" if chinese else "docs/index.md"
    context["furo_navigation_tree"] = _only(context.get("furo_navigation_tree", ""), set(sections(index)))


def _only(tree: str, captions: set[str]) -> str:
    """The parts of a navigation tree that stand under these captions."""
    parts = re.split(r'(?=<p class="caption")', tree)
    return "".join(
        part
        for part in parts
        if (found := re.search(r"caption-text\">(.*?)<", part)) and found[1] in captions
    )
