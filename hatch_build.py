"""What an index shows of mbk: the README with links that work outside of the repository, and the project's addresses.

Both are made of `[tool.hatch.metadata.hooks.custom]` in pyproject.toml, where the public home of mbk stands once. As long as there is
none, links into the repository become plain text, which is better than links that lead nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"\[(?P<text>[^\[\]]+)\]\((?P<target>[^()\s]+)\)")
_PAGES = {
    "Documentation": "docs/index.md",
    "Changelog": "CHANGELOG.md",
    "Upgrading": "docs/how-to/upgrade.md",
}


class Home(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        home = self.config["home"].rstrip("/")
        file = self.config["file"] if home else ""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        version = re.search(r'__version__ = "(.+)"', Path(self.root, "core/mbk/about.py").read_text("utf-8"))
        assert version, "core/mbk/about.py tells the version"

        def address(path: str) -> str:
            return str(file.format(home=home, version=version[1], path=path)) if file else ""

        metadata["readme"] = {"content-type": "text/markdown", "text": outside(readme, address)}
        pages = {"Homepage": home, **{name: address(path) for name, path in _PAGES.items()}}
        metadata["urls"] = {name: url for name, url in pages.items() if url}


def outside(text: str, address: Any) -> str:
    """The text as it reads away from its folder; ``address`` gives that of a file, or "" if it has none."""

    def moved(link: re.Match[str]) -> str:
        if link["target"].startswith(("https://", "http://", "#", "mailto:")):
            return link[0]
        url = address(link["target"])
        return f"[{link['text']}]({url})" if url else link["text"]

    return _LINK.sub(moved, text)
