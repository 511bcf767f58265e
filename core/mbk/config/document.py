"""The tables of docs/reference/configuration.md, generated from those in the code.

``python -m mbk.config.document docs/reference/configuration.md`` rewrites the part between the two marks; a test checks
that the page is current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from mbk.config.keys import BACKUP, KEYS, PRIMARY, Dialect, Key, Name
from mbk.config.schema import Settings
from mbk.config.show import written
from mbk.config.v1 import V1
from mbk.config.v2 import V2

BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"
_TITLES = {
    "log": "Log",
    "milvus": "Milvus",
    PRIMARY: "Milvus' storage",
    BACKUP: "The backup's storage",
    "backup": "Backup",
    "restore": "Restore",
    "transfer": "Transfer",
    "retention": "Retention",
    "server": "REST server",
    "cloud": "Managed service",
}


def tables() -> str:
    """One table a section: the names in both dialects, the default, the meaning."""
    return "\n".join(line for section, title in _TITLES.items() for line in _table(section, title))


def renewed(page: str) -> str:
    """``page`` with current tables between the marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{tables()}\n{END}{tail}"


def _table(section: str, title: str) -> Iterator[str]:
    yield f"### {title}\n"
    yield "| v1 key | v1 variable | v2 key | v2 variable | default | meaning |"
    yield "|---|---|---|---|---|---|"
    for key in KEYS.values():
        if key.target.partition(".")[0] == section:
            yield _row(key)
    yield ""


def _row(key: Key) -> str:
    v1, v2 = V1.by_target.get(key.target), V2.by_target.get(key.target)
    meaning = f"{key.help}; secret" if key.secret else key.help
    cells = [_key(v1), _env(v1), _key(v2), _env(v2), _defaults(key, v1, v2), meaning]
    return "| " + " | ".join(cells) + " |"


def _key(name: Name | None) -> str:
    if name is None:
        return ""
    also = ", ".join(f"`{alias}`" for alias in name.aliases)
    return f"`{name.key}`" + (f" (also {also})" if also else "")


def _env(name: Name | None) -> str:
    return f"`{name.env}`" if name and name.env else ""


def _defaults(key: Key, *names: Name | None) -> str:
    texts = [_default(key, name, dialect) for name, dialect in zip(names, (V1, V2), strict=True) if name]
    return " / ".join(dict.fromkeys(text for text in texts if text))


def _default(key: Key, name: Name, dialect: Dialect) -> str:
    if not key.stored:
        return ""
    section, _, field = key.target.partition(".")
    if key.side is None:
        value = getattr(Settings.model_fields[section].default, field)
        text = written(name.parser, value)
        return f"`{text}`" if text else "empty"
    if key.target in dialect.defaults:
        return f"`{dialect.defaults[key.target]}`"
    return "not inherited" if section == BACKUP and field in dialect.not_inherited else ""


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
