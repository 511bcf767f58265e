"""``config migrate``: translates a v1 file to an equivalent v2 file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from os import PathLike
from pathlib import Path
from typing import Any

from mbk.config import parse as p
from mbk.config.keys import BACKUP, KEYS, Name
from mbk.config.layers import Origin
from mbk.config.load import LoadedConfig, load, revealed
from mbk.config.profiles import with_profiles
from mbk.config.schema import Settings
from mbk.config.show import value_of
from mbk.config.source import DEFAULT_NAME, VERSION_KEY
from mbk.config.v2 import V2
from mbk.errors import ConfigError, Problem
from mbk.frozen import frozen
from mbk.model.rates import Bandwidth, RequestRate


@frozen
class Migration:
    """``text`` of the v2 file, which may contain secrets. ``dropped``: keys without a counterpart, each with the reason.

    ``env_renames``: variables that v2 reads under another name; their values are not in ``text``.
    """

    text: str = field(repr=False)
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    env_renames: tuple[tuple[str, str], ...]


def migrate(
    path: str | PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Migration:
    """Translates. Raises `ConfigError` for a file with problems, a v2 file, or no file."""
    loaded = load(path, environ=environ, cwd=cwd)
    if loaded.path is None:
        raise ConfigError(
            DEFAULT_NAME, [Problem("", "no configuration file to migrate", "give it with --config")]
        )
    if loaded.dialect != "v1":
        raise ConfigError(str(loaded.path), [Problem(VERSION_KEY, "already v2, nothing to migrate")])
    writer = _Writer(loaded)
    for name in with_profiles(V2, loaded.settings.profiles).names:
        if KEYS[name.target].stored:
            writer.add(name)
    unstored = [(KEYS[t], origin) for t, origin in loaded.origins.items() if t in KEYS and not KEYS[t].stored]
    return Migration(
        text=writer.text(),
        dropped=tuple(f"{origin.key}: {key.help}" for key, origin in unstored),
        warnings=(*loaded.warnings, *writer.warnings),
        env_renames=tuple(writer.renames),
    )


class _Writer:
    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.tree: dict[str, Any] = {VERSION_KEY: "v2"}
        self.warnings: list[str] = []
        self.renames: list[tuple[str, str]] = []

    def add(self, name: Name) -> None:
        origin = self.loaded.origins.get(name.target, Origin("default", ""))
        value = value_of(self.loaded.settings, name.target)
        if origin.source in ("default", "inherited"):
            if name.target == f"{BACKUP}.root_path" and value != V2.defaults[name.target]:
                self.put(name, value)
            elif _must_be_blanked(self.loaded.settings, name.target):
                self.put(name, "")
        elif origin.source == "environment" and name.env:
            if origin.key != name.env:
                self.renames.append((origin.key, name.env))
        else:
            if origin.source == "environment":
                self.warnings.append(
                    f"{origin.key}: v2 does not read this variable, its value was written to {name.key}"
                )
            self.put(name, "" if value is None else value)

    def put(self, name: Name, value: Any) -> None:
        *sections, leaf = name.key.split(".")
        node = self.tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = _plain(name.parser, value)

    def text(self) -> str:
        import yaml

        return yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True, width=1 << 20)


def _must_be_blanked(settings: Settings, target: str) -> bool:
    """Whether the backup side would inherit a value from the primary in v2 but not in v1."""
    name = target.removeprefix(f"{BACKUP}.")
    return (
        target.startswith(f"{BACKUP}.")
        and name not in V2.not_inherited
        and name in settings.storage.values
        and name not in settings.backup_storage.values
        and V2.canonical(settings.storage.type) == V2.canonical(settings.backup_storage.type)
    )


def _plain(parser: p.Parser, value: Any) -> Any:
    if isinstance(parser, p.Choice) and value != "":
        return parser.word(value)
    if isinstance(value, (Bandwidth, RequestRate)):
        return str(value)
    return list(value) if isinstance(value, tuple) else revealed(value)
