"""A new plugin: a package that passes the conformance kit as it is, to be filled with the requests of a service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from mbk.about import __version__
from mbk.errors import AlreadyExists, UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: So that no tool takes the files of the template for sources of mbk.
_SUFFIX = ".txt"


def short_name(name: str) -> str:
    """The storage type of a plugin of this name: ``mbk-acme`` makes the storage ``acme``."""
    short = name.lower().replace("_", "-").removeprefix("mbk-")
    if not _NAME.fullmatch(short):
        raise UsageError(
            "{name!r} is not a valid name for a plugin",
            code="plugin-name-invalid",
            name=name,
            hint="use letters, digits and dashes, and begin with a letter: acme, or mbk-acme",
        )
    return short


def write(name: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Writes the package into ``folder``, by default ``mbk-NAME`` here; returns its files. Raises `AlreadyExists`, `UsageError`."""
    short = short_name(name)
    folder = folder or Path(f"mbk-{short}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(
            "{path} already exists and is not an empty directory",
            code="plugin-directory-exists",
            path=folder,
            hint="name another one with --dir",
        )
    made = []
    try:
        for path, text in contents(short).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            made.append(target)
    except OSError as exc:
        raise UsageError(
            "cannot write {path}: {reason}",
            code="file-unwritable",
            path=exc.filename or folder,
            reason=exc.strerror,
            hint="name another directory with --dir",
        ) from exc
    return tuple(made)


def contents(short: str) -> Mapping[str, str]:
    """The files of a new plugin by their paths in it."""
    words = {
        "mbk_acme": f"mbk_{short.replace('-', '_')}",
        "test_acme": f"test_{short.replace('-', '_')}",
        "acme_sdk": f"{short.replace('-', '_')}_sdk",
        "Acme": "".join(part.capitalize() for part in short.split("-")),
        "acme": short,
        "MBK_VERSION": __version__,
    }
    pattern = re.compile("|".join(words))

    def renamed(text: str) -> str:
        return pattern.sub(lambda found: words[found[0]], text)

    template = files("mbk.testing") / "template"
    return {
        renamed(path.removesuffix(_SUFFIX)): renamed(file.read_text("utf-8"))
        for path, file in _files(template)
    }


def _files(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _files(item, f"{above}{item.name}/")
        elif item.name.endswith(_SUFFIX):
            yield f"{above}{item.name}", item
